"""saccade.kernels: one folder an op. Of the runtime they know only `errors` and `settings`.

    <op>/__init__.py   the public function: check, pick, run       <op>/reference.py   NumPy: the specification
    <op>/cases.py      shapes and inputs for tests and benchmarks
    dispatch.py        which candidate of an op runs, and why the others do not
    native.py          the compiled candidates

There is no name guard here: transformers looks for a distribution called `kernels`, and a guard that raises breaks it.
"""

OPS = ("resize_normalize", "decode_boxes", "nms", "mask_decode", "relpos_attention", "deformable_attention")
