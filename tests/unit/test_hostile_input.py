"""Any bytes and any JSON where a file of a known form is expected: accepted, or refused by name.

Of every format the number of records that went in comes out again, as rows or as named drops.
"""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import documents
from fuzz.mutants import VALUES
from judged import RECIPE
from reading import read
from samdan.data.readers import READERS
from samdan.data.readers.file import Row
from samdan.data.readers.worker import Worker
from samdan.lm.tensors import Checkpoint
from samdan.lm.trust import require_data_only
from samdan.records import DataError, Drop, RecipeError
from samdan.run.loading import load_recipe
from samdan.train.state import checkpoint_at, latest_checkpoint, verify

quick = settings(
    max_examples=60, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as running:
        yield running


def accounted(found: list[Row | Drop]) -> int:
    for item in found:
        if isinstance(item, Drop):
            assert item.reason.isidentifier()
            assert "its reader ended" not in item.detail
    return len(found)


@quick
@given(st.sampled_from(sorted(READERS)), st.binary(max_size=400))
def test_any_bytes_are_rows_or_named_drops(worker: Worker, suffix: str, content: bytes) -> None:
    assert accounted(read(worker, f"x{suffix}", content)) > 0


# Words that formats take for something: quotes, delimiters, headers, escapes, another encoding.
hostile = st.text(
    st.characters(exclude_categories=["Cs"])
    | st.sampled_from('",\t;\r\n\x00\x1b\u202e\ufeff<>&=+'),
    max_size=30,
).map(lambda text: f"가{text}나")


def _jsonl(texts: list[str]) -> bytes:
    return b"".join(json.dumps({"text": one}).encode() + b"\n" for one in texts)


def _csv(texts: list[str], delimiter: str = ",") -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(["id", "text"])
    # As the standard writes them: a quoted cell may hold line ends, but none can hold NUL.
    writer.writerows([[n, one.replace("\0", "")] for n, one in enumerate(texts)])
    return out.getvalue().encode()


def _parquet(texts: list[str]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"text": texts}), out)
    return out.getvalue()


def _members(texts: list[str]) -> dict[str, bytes]:
    return {f"{n}.txt": one.encode() for n, one in enumerate(texts)}


def _mbox(texts: list[str]) -> bytes:
    mails = (one.encode("utf-8").replace(b"\n", b" ").replace(b"\r", b" ") for one in texts)
    head = b"Subject: a\nContent-Type: text/plain; charset=utf-8\n\n"
    return b"".join(b"From a@b Thu Jan  1 00:00:00 2026\n" + head + one + b"\n\n" for one in mails)


MADE: dict[str, Callable[[list[str]], bytes]] = {
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".tsv": lambda texts: _csv(texts, "\t"),
    ".parquet": _parquet,
    ".zip": lambda texts: documents.zipped(_members(texts)),
    ".tar": lambda texts: documents.tarred(_members(texts)),
    ".mbox": _mbox,
}


@quick
@given(st.sampled_from(sorted(MADE)), st.lists(hostile, min_size=1, max_size=12))
def test_as_many_come_out_as_went_in(worker: Worker, suffix: str, texts: list[str]) -> None:
    found = read(worker, f"x{suffix}", MADE[suffix](texts))
    assert accounted(found) == len(texts), found


# --- models and checkpoints -----------------------------------------------------------------------

nodes = st.recursive(
    st.sampled_from([value for value in VALUES if not isinstance(value, list | dict)]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from([
            "auto_map", "model_type", "weight_map", "num_hidden_layers", "attn_implementation",
            "dtype", "shape", "data_offsets", "__metadata__", "a", "files", "step", "identity",
            "manifest.json", "model.safetensors", "bytes", "sha256", "parts",
        ]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@quick
@given(st.sampled_from(["config.json", "generation_config.json", "tokenizer_config.json",
                        "model.safetensors.index.json", "adapter_config.json"]), nodes)  # fmt: skip
def test_any_configuration_is_looked_at_or_refused(name: str, value: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(json.dumps(value).encode("utf-8", "surrogatepass"))
        for look in (lambda: require_data_only(folder), lambda: Checkpoint(Path(folder))):
            try:
                look()
            except DataError as error:
                told = str(error)
            else:
                told = folder
            assert folder in told


@quick
@given(nodes | st.binary(max_size=200), st.integers(-1, 1) | st.just(1 << 40))
def test_any_header_of_tensors_is_read_or_refused(value: Any, more: int) -> None:
    header = value if isinstance(value, bytes) else json.dumps(value).encode()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        size = max(0, len(header) + more)
        file.write_bytes(size.to_bytes(8, "little") + header + b"\0" * 64)
        try:
            found = Checkpoint(Path(folder)).tensors
        except DataError as error:
            found = {}
            told = str(error)
        else:
            told = str(file)
        assert str(file) in told
        assert all(tensor.file == file for tensor in found.values())


@quick
@given(nodes)
def test_any_manifest_is_of_no_checkpoint(value: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "step-00000001"
        place.mkdir()
        made = json.dumps(value).encode("utf-8", "surrogatepass")
        (place / "manifest.json").write_bytes(made)
        assert verify(place)
        assert latest_checkpoint(Path(folder), "x")[0] is None
        assert checkpoint_at(Path(folder), 10) is None


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "x.jinja"])
@pytest.mark.parametrize("target", ["fifo", "/dev/zero"])
def test_a_model_folder_does_not_hold_its_reader(name: str, target: str, tmp_path: Path) -> None:
    file = tmp_path / name
    os.mkfifo(file) if target == "fifo" else file.symlink_to(target)
    with pytest.raises(DataError, match="is no regular file"):
        require_data_only(str(tmp_path))


def test_what_a_model_folder_links_to_is_not_copied(tmp_path: Path) -> None:
    """A trained model is given away, with what was copied beside it."""
    from samdan.lm.folders import copy_beside

    (tmp_path / "secret").write_text("mine")
    for name in ("theirs", "ours", "hub/snapshots/abc", "hub/blobs"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "hub" / "blobs" / "1").write_text("{}")
    (tmp_path / "hub" / "snapshots" / "abc" / "tokenizer.json").symlink_to("../../blobs/1")
    copy_beside(tmp_path / "hub" / "snapshots" / "abc", tmp_path / "ours")
    assert (tmp_path / "ours" / "tokenizer.json").read_text() == "{}"
    (tmp_path / "theirs" / "LICENSE-x").symlink_to("../secret")
    with pytest.raises(DataError, match="LICENSE-x: is a link that leads out"):
        copy_beside(tmp_path / "theirs", tmp_path / "ours")
    assert not (tmp_path / "ours" / "LICENSE-x").exists()


@pytest.mark.timeout(120)
def test_a_recipe_is_no_device_and_no_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "recipe.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    for name, why in (("recipe.yaml", "no regular file"), ("zero.yaml", "no regular file")):
        with pytest.raises(RecipeError, match=why):
            load_recipe(tmp_path / name)
    with pytest.raises(RecipeError, match="more than"):
        load_recipe("/dev/zero")


@pytest.mark.parametrize("name", ["a[1]", "a\x1b[2Jb", "a*", os.fsdecode(b"\xff")])
def test_a_folder_with_a_strange_name_is_no_traceback(name: str, tmp_path: Path) -> None:
    """[ is taken for a pattern: two sources of such a folder were called by its first letters."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "recipe.yaml").write_text(RECIPE, "utf-8")
    try:
        said = load_recipe(tmp_path / name / "recipe.yaml").name
    except RecipeError as error:
        said = str(error)
    assert "judged" in said or "a folder's name must hold none of" in said or "UTF-8" in said
