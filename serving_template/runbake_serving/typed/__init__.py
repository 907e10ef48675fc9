"""The typed protocol: bodies that say what they mean, by the model's own names and types.

`{"rows": [{column: value, …}, …], "params": {…}}` for a signature of columns, `{"inputs": …}` for tensors.
What does not fit is refused with every field that is wrong and the row it is in; nothing is converted,
dropped or filled up in silence, as MLflow's protocol has to do.
"""
