"""Lines come back in order; resuming drops exactly what will be written again."""

import pytest

from jaxlib_methods.runtime import MetricsWriter, read_metrics


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsWriter(path, resume_at=None) as metrics:
        for step in (0, 10, 20, 30):
            metrics.write(step, loss=1 / (1 + step))
    return path


def steps(path):
    return [record["step"] for record in read_metrics(path)]


@pytest.mark.parametrize(
    ("resume_at", "kept"), [(None, []), (0, [0]), (19, [0, 10]), (20, [0, 10, 20]), (99, [0, 10, 20, 30])]
)
def test_resuming_keeps_the_lines_up_to_the_checkpoint(path, resume_at, kept):
    with MetricsWriter(path, resume_at=resume_at) as metrics:
        assert steps(path) == kept
        metrics.write(100, loss=0.0)
    assert steps(path) == [*kept, 100]


def test_values_come_back_exactly(path):
    assert read_metrics(path)[3] == {"step": 30, "loss": 1 / 31}


def test_a_line_is_readable_before_the_writer_is_closed(tmp_path):
    with MetricsWriter(tmp_path / "m", resume_at=5) as metrics:
        metrics.write(1, loss=float("nan"), name="a\nb")
        [record] = read_metrics(tmp_path / "m")
    assert record["loss"] != record["loss"]
    assert record["name"] == "a\nb"


def test_a_line_cut_by_a_crash_is_left_out_and_then_dropped(path):
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert steps(path) == [0, 10, 20]
    with MetricsWriter(path, resume_at=30) as metrics:
        metrics.write(30, loss=1 / 31)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("line", ["{", "[1]", '{"loss": 1}', '{"step": "1"}', ""])
def test_a_broken_line_is_named_by_file_and_number(path, line):
    path.write_text('{"step": 0}\n' + line + '\n{"step": 1}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2"):
        read_metrics(path)
