from __future__ import annotations

from pathlib import Path

import pytest
import torch

from archscout.errors import DataError
from archscout.tasks import Task, load_task, task_spec
from archscout.tasks.checks import check_data
from archscout.tasks.readers.text import END, UNKNOWN, TextSource, find_text_files, read_words, text_task


def write(folder: Path, *texts: str, layout: str = "{}.txt") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part, text in zip(("train", "valid", "test"), texts, strict=False):
        (folder / layout.format(part)).write_text(text, encoding="utf-8")
    return folder


def test_the_vocabulary_is_the_training_texts_in_order_of_appearance(tmp_path: Path) -> None:
    task = load_task(str(write(tmp_path / "mine", "b a b\na c\n", "a b\n", "c d\na\n")))
    assert task.class_names == ("b", "a", END, "c", UNKNOWN)
    assert task.spec.name == "mine" and task.spec.kind == "language" and task.spec.outputs == 5
    assert task.spec.describe() == "language model over 5 words"
    words = task.test.source.batches([task.test.indices], torch.device("cpu"))
    inputs, targets = next(iter(words))
    assert [task.class_names[number] for number in inputs.flatten()] == ["c", UNKNOWN, END, "a", END]
    assert targets.flatten().tolist() == [*inputs.flatten().tolist()[1:], inputs.flatten().tolist()[-1]]
    assert [len(task.split(name)) for name in ("train", "validation", "test", "development")] == [7, 3, 5, 10]
    assert task.provenance["words of test outside the vocabulary"] == 1


def test_a_text_with_its_own_unknown_word_gets_no_second_one(tmp_path: Path) -> None:
    task = load_task(str(write(tmp_path, "a <unk> b\n", "b\n", "z\n")))
    assert task.class_names == ("a", UNKNOWN, "b", END)


@pytest.mark.parametrize("layout", ["{}.txt", "ptb.{}.txt", "wiki.{}.tokens"])
def test_published_names_of_files_are_known(tmp_path: Path, layout: str) -> None:
    write(tmp_path, "a\n", "a\n", "a\n", layout=layout)
    assert [file.name for file in find_text_files([tmp_path])] == [
        layout.format(part) for part in ("train", "valid", "test")
    ]
    assert load_task(str(tmp_path)).spec.kind == "language"


@pytest.mark.parametrize(("name", "words", "folder"), [("ptb", 10_000, "ptb"), ("wikitext2", 33_278, "wikitext-2")])
def test_registered_texts_are_read_from_their_files(tmp_path: Path, name: str, words: int, folder: str) -> None:
    assert task_spec(name).outputs == words
    text = " ".join(f"w{number}" for number in range(words - 2)) + " <unk>\n"
    write(tmp_path / folder, text, "w1 w2\n", "w3 x\n")
    task = load_task(name, tmp_path)
    assert task.spec == task_spec(name)
    write(tmp_path / folder, "a b\n", "a\n", "b\n")
    with pytest.raises(DataError, match=rf"3 different words|4 different words.*has {words:,}"):
        load_task(name, tmp_path)
    with pytest.raises(DataError, match=r"not downloaded.*--data"):
        load_task(name, tmp_path / "nowhere")


def lines(task: Task, part: str) -> str:
    """A split as text, with a bar for each end of a line."""
    source = task.split(part).source
    assert isinstance(source, TextSource)
    return " ".join(task.class_names[word] for word in source.words[task.split(part).indices]).replace(END, "|")


def told(task: Task, level: str) -> str:
    return "\n".join(finding.message for finding in task.findings if finding.level == level)


def test_a_missing_file_of_a_published_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no test.txt. A text needs three files"):
        find_text_files([write(tmp_path, "a\n", "a\n")])
    (tmp_path / "train.txt").rename(tmp_path / "test.txt")
    with pytest.raises(DataError, match=r"has valid.txt and test.txt, but no training text: train.txt"):
        load_task(str(tmp_path))


def test_missing_splits_are_the_last_lines_of_the_training_text(tmp_path: Path) -> None:
    text = "".join(f"w{number} x\n" for number in range(12))
    task = load_task(str(write(tmp_path / "mine", text)))
    assert lines(task, "test") == "<unk> x | <unk> x |" and lines(task, "validation") == "<unk> x | <unk> x |"
    assert lines(task, "train").startswith("w0 x | w1 x |") and len(task.train) == 24
    assert told(task, "note").count("the last 2 lines of train.txt were held out") == 2
    more = load_task(str(tmp_path / "mine"), test_fraction=0.5)
    assert lines(more, "test").count("|") == 6
    (tmp_path / "mine" / "train.txt").rename(tmp_path / "novel.txt")
    single = load_task(str(tmp_path / "novel.txt"))
    assert single.name == "novel" and torch.equal(
        single.train.source.words,  # type: ignore[attr-defined]
        task.train.source.words,  # type: ignore[attr-defined]
    )
    one = write(tmp_path / "one", "a b c")
    with pytest.raises(DataError, match=r"has one line, of which nothing can be held out for test.*a file test.txt"):
        load_task(str(one))


@pytest.mark.parametrize("name", ["val", "validation", "dev", "valid"])
def test_usual_names_of_the_validation_text_are_known(tmp_path: Path, name: str) -> None:
    write(tmp_path, "a b\n", "a\n", "b\n")
    (tmp_path / "valid.txt").rename(tmp_path / f"{name}.txt")
    for given in (tmp_path, tmp_path / "train.txt", tmp_path / f"{name}.txt"):
        task = load_task(str(given))
        assert (task.name, lines(task, "validation"), task.findings) == (tmp_path.name, "a |", ())


def test_ends_that_are_written_already_are_not_counted_twice(tmp_path: Path) -> None:
    task = load_task(str(write(tmp_path, "a b <eos>\nc <eos>\n", "a <eos>\n\n", "b\nc\n")))
    assert [lines(task, part) for part in ("train", "validation", "test")] == ["a b | c |", "a | |", "b | c |"]
    assert told(task, "note").count("every line ends with <eos> already") == 2
    before = load_task(str(tmp_path), rules=1)  # as runs of version 0.1 read it
    assert lines(before, "train") == "a b | | c | |"
    odd = load_task(str(write(tmp_path, "a <eos> b\nc <eos>\n", "a\n", "b\n")))
    assert lines(odd, "train") == "a | b | c | |"
    assert "train.txt: 2 lines hold the word <eos>" in told(odd, "doubtful")


def test_a_text_of_one_long_line_is_doubtful(tmp_path: Path) -> None:
    task = load_task(str(write(tmp_path, "a b c " * 107, "a\n", "b\n")))
    assert "train.txt is a single line of 321 words" in told(task, "doubtful")


def test_encodings_that_editors_write_read_the_same(tmp_path: Path) -> None:
    text = "naïve café\nun œuf\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"):
        folder = write(tmp_path, "", "a\n", "b\n")
        (folder / "train.txt").write_bytes(text.encode(encoding))
        task = load_task(str(folder))
        assert lines(task, "train") == "naïve café | un œuf |"
        assert ("read as Windows-1252: 'naïve café" in told(task, "doubtful")) == (encoding == "cp1252")
    for encoding in ("utf-16le", "utf-16be"):
        (folder / "train.txt").write_bytes(text.encode(encoding))
        with pytest.raises(DataError, match=f"iconv -f {encoding} -t utf-8 train.txt"):
            load_task(str(folder))


@pytest.mark.parametrize("content", ["", "\n", " \n\n  \n"])
def test_a_file_without_words_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"valid.txt holds no word"):
        load_task(str(write(tmp_path, "a\n", content, "a\n")))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\nbc\ncaf\x81\n", r"test.txt, line 3: byte 0x81 is neither UTF-8 nor Windows-1252.*iconv -f ENCODING"),
        (b"a\nb\x00c\n", r"test.txt, line 2: byte 0x00 is no text"),
        (b"\x89PNG\r\n\x1a\n\x00", r"test.txt is no text: byte 0x1a in line 2"),
        (b"\xff\xfea", r"begins with the mark of utf-16-le, but byte 2"),
    ],
)
def test_bytes_that_are_no_text_are_named_with_their_line(tmp_path: Path, content: bytes, message: str) -> None:
    write(tmp_path, "a\n", "a\n", "a\n")
    (tmp_path / "test.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_task(str(tmp_path))


def test_lines_end_with_the_same_word_whatever_their_ends(tmp_path: Path) -> None:
    file = tmp_path / "text"
    for content in (b"a b\nc\n", b"a b\r\nc", b"\xef\xbb\xbfa  b\nc\n", b"a b\rc\r"):
        file.write_bytes(content)
        assert read_words(file) == ["a", "b", END, "c", END]


def test_check_data_counts_words_and_warns(tmp_path: Path) -> None:
    write(tmp_path, "the cat sat on the mat\n", "a dog\n", "the cat sat on the mat\nnew words\n")
    lines = check_data(tmp_path).lines()
    text = "\n".join(lines)
    assert "train: 7 words in 1 lines, 0.00 % <unk>" in text
    assert "test: 10 words in 2 lines, 20.00 % <unk>" in text
    assert "most frequent in train: the" in text
    for warning in ("the training text has no <unk>", "only 7 words", "100 % of the test lines", "20.0 % of the words"):
        assert warning in text, warning


def test_the_shared_text_is_understood(shared_data: Path) -> None:
    task = load_task(str(shared_data / "text"))
    assert task.spec.outputs == 6_432
    assert task.provenance["words of test outside the vocabulary"] == 0


def test_a_task_from_three_files(tmp_path: Path) -> None:
    write(tmp_path, "a b\n", "a\n", "b\n")
    assert text_task("name", find_text_files([tmp_path])).name == "name"
