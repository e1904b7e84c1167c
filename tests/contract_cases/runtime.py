"""`jaxlib_methods.runtime` works on the host: only its writing is checked."""

CASES: dict = {}
HOST = {
    *(f"runtime.{name}" for name in ("axis_key", "make_mesh", "pad_and_shard_rows", "replicate", "shard_rows")),
    *(f"runtime.{name}" for name in ("is_first_process", "job_kind", "join_job")),
    *(f"runtime.{name}" for name in ("catch_sigterm", "make_train_step", "to_host", "train_init")),
    *(f"runtime.{name}" for name in ("data_path", "load", "read_json", "read_metrics", "write_atomic", "write_json")),
}
