# Read by Spark's start script before it starts Java. Spark 4 asks for a module of Java that the runtimes in
# Python packages are built without, and that only makes linear algebra faster: it does without.
exec() {
    local word kept=()
    for word in "$@"; do
        [ "$word" = --add-modules=jdk.incubator.vector ] || kept+=("$word")
    done
    builtin exec "${kept[@]}"
}
