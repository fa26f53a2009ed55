"""Textual inversions that a prompt names."""

from __future__ import annotations

import pytest

from distillery.nodes.model_files.embeddings import MAX_NAMES, embeddings_in, missing_embeddings


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("embedding:foo", ["foo"]),
        ("a cat embedding:foo, embedding:bar.pt\nembedding:foo", ["foo", "bar.pt"]),
        ("(embedding:foo:1.2), ((embedding:bar))", ["foo", "bar"]),
        ("(a cat embedding:foo:1.2)", ["foo"]),
        ("embedding:sub/foo_v1.5 x", ["sub/foo_v1.5"]),
        (r"embedding:foo\(x\)", ["foo(x)"]),
        ("embedding:foo[x] embedding:bar<y>", ["foo", "bar"]),
        ("good,embedding:foo", []),  # ComfyUI takes it for text
        ("embedding: foo", []),
        ("the embedding:", []),
        ("", []),
    ],
)
def test_names_are_read_as_comfyui_reads_them(prompt, names):
    assert embeddings_in(prompt) == names


@pytest.mark.slow
def test_the_reading_agrees_with_comfyuis_tokenizer(comfy, tmp_path):
    """What ComfyUI looks for on disk, in its own code."""
    import comfy.sd1_clip as clip

    for prompt in ("a (embedding:foo:1.2) x", "embedding:foo, b", "(x embedding:foo)", r"embedding:foo\(1\) b"):
        asked: list[str] = []

        class Recorder(clip.SDTokenizer):
            def _try_get_embedding(self, embedding_name):
                asked.append(embedding_name.split()[0].strip(","))  # noqa: B023
                return super()._try_get_embedding(embedding_name)

        Recorder(embedding_directory=str(tmp_path)).tokenize_with_weights(prompt)
        assert embeddings_in(prompt) == asked


def test_files_are_found_in_any_folder_with_and_without_extension():
    installed = ["foo.pt", "deep/er/bar.safetensors", "baz.bin"]
    assert (
        missing_embeddings(["embedding:foo embedding:bar embedding:er/bar.safetensors embedding:baz"], installed) == []
    )


def test_what_is_missing_is_named_once_with_its_like():
    warnings = missing_embeddings(["embedding:bad_hand", None, "embedding:bad_hand"], ["bad_hands.pt", "x.pt"])
    assert len(warnings) == 1
    assert "bad_hand of the prompt" in warnings[0] and "bad_hands.pt" in warnings[0]


@pytest.mark.timeout(20)
def test_a_hostile_prompt_is_quick():
    prompt = " ".join(f"embedding:{n}" for n in range(100_000)) + "embedding:" + "\\(" * 500_000
    assert len(missing_embeddings([prompt], ["x"] * 100)) == MAX_NAMES
