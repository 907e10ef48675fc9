"""The part plan: divided once, read back as written, and never continued as another job."""

from __future__ import annotations

import pytest

from runbake_serving.batch.failures import BadSpec
from runbake_serving.batch.identity import comparable, identity_of, without_unknown_image
from runbake_serving.batch.plan import InputFile, Piece, Plan, check_same, parts_of, plan_of_json
from runbake_serving.batch.sizing import rows_within
from runbake_serving.batch.spec import JobSpec

FILES = tuple(
    InputFile(
        uri=f"/in/{name}", format="parquet", size_bytes=10, fingerprint=name * 8, partition=(("day", "1"),)
    )
    for name in "ab"
)


def pieces(*counts: int) -> tuple[Piece, ...]:
    """Row groups of so many rows."""
    return tuple(
        Piece(begin=at, end=at + 1, first_row=sum(counts[:at]), rows=rows) for at, rows in enumerate(counts)
    )


def plan() -> Plan:
    """Two files in three parts."""
    parts = parts_of([pieces(4, 4, 4), pieces(9)], part_rows=8)
    return Plan(identity={"params": {"a": 1}}, job={"x": 1}, batch_rows=4, files=FILES, parts=parts)


def test_row_groups_are_joined_up_to_a_part() -> None:
    """Neighbours of one file become one part; nothing is divided, no part has two files."""
    parts = plan().parts

    told = [(part.id, part.file, part.begin, part.end, part.first_row, part.rows) for part in parts]
    assert told == [
        ("part-00000", 0, 0, 2, 0, 8),
        ("part-00001", 0, 2, 3, 8, 4),
        ("part-00002", 1, 0, 1, 0, 9),
    ]


def test_pieces_of_unknown_length_stay_alone() -> None:
    """Text is divided before, by its lines."""
    unknown = [Piece(begin=at, end=at + 1, first_row=0, rows=None) for at in range(3)]
    assert len(parts_of([unknown], part_rows=100)) == 3


def test_a_plan_reads_back_as_it_was_written() -> None:
    """`plan_of_json(plan.to_json()) == plan`."""
    assert plan_of_json(plan().to_json(), where="x") == plan()


@pytest.mark.parametrize("text", ["", "{}", '{"schema": "other"}', "[]"])
def test_another_document_is_no_plan(text: str) -> None:
    """A damaged or newer plan is refused with its name."""
    with pytest.raises(BadSpec, match=r"out/_PLAN\.json"):
        plan_of_json(text, where="out/_PLAN.json")


def test_shards_share_all_parts() -> None:
    """Every part is in exactly one shard."""
    whole = plan()
    shared = [part.id for index in range(2) for part in whole.of_shard(index, 2)]
    assert sorted(shared) == [part.id for part in whole.parts]


def identity(**changes: object) -> dict[str, object]:
    """The identity of a job with these changes."""
    spec = JobSpec(inputs=("/in",), output="/out", **changes)  # type: ignore[arg-type]  # keys of JobSpec
    return identity_of(spec, image_digest="", provenance_digest="sha256:1", model_digest="m")


def test_who_computes_and_how_many_may_be_rejected_are_no_other_job() -> None:
    """Workers, memory and rejects may change when a job is continued."""
    assert identity(workers=1, memory_bytes=5) == identity(workers=2)


def test_another_job_is_refused_with_the_difference() -> None:
    """The message names what was, and what is."""
    was, now = (
        comparable(identity(params={"level": 1}), FILES),
        comparable(identity(params={"level": 2}), FILES[:1]),
    )

    with pytest.raises(BadSpec) as caught:
        check_same(was, now, output="/out")

    assert str(caught.value) == (
        '/out was begun by another job: file./in/b was "10 bytes, bbbbbbbb" and is missing; '
        "params.level was 1 and is 2"
    )
    check_same(was, was, output="/out")


def test_an_image_that_was_not_told_is_not_compared() -> None:
    """Its label file is, always."""
    told = identity_of(
        JobSpec(inputs=("/in",), output="/out"),
        image_digest="sha256:a",
        provenance_digest="sha256:1",
        model_digest="m",
    )
    was, now = comparable(told, ()), comparable(identity(), ())
    without_unknown_image(was, now)
    check_same(was, now, output="/out")

    other = {**told, "image": {"digest": "sha256:b", "provenance": "sha256:1"}}
    with pytest.raises(BadSpec, match=r"image\.digest was"):
        check_same(comparable(told, ()), comparable(other, ()), output="/out")


MIB = 1 << 20


@pytest.mark.parametrize(
    ("tried", "room", "rows"),
    [
        ([], MIB, 1024),
        ([(16, 0.01, 100 * MIB), (65_536, 0.05, 130 * MIB)], 512 * MIB, 65_536),
        ([(16, 0.01, 100 * MIB), (65_536, 0.05, 130 * MIB)], 15 * MIB, 16_384),
        ([(16, 0.01, 100 * MIB), (1040, 1.04, 101 * MIB)], 512 * MIB, 1024),
        ([(16, 160.0, 100 * MIB)], 512 * MIB, 1),
    ],
)
def test_batches_fit_room_and_time(tried: list[tuple[int, float, int]], room: int, rows: int) -> None:
    """A power of two within the memory of a worker, and within two seconds."""
    assert rows_within(tried, room_bytes=room) == rows
