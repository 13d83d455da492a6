"""A CLIP that remembers: same bits as stock, columns proven by experiment, kept by ComfyUI's nodes, and
every refusal's text.

The text encoders here have ComfyUI's own code and tokenizers, and small random weights: every word changes
its row.
"""

import dataclasses

import pytest
import safetensors.torch
import torch

from ..support.text_encoders import build

L = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
G = {**L, "hidden_size": 48}
T5 = {"d_model": 64, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_layers": 2}
PROMPT = "a photo of a (Giraffe:1.3), and a T-Shirt; caf\u00e9 \u732b"


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory):
    """A folder with textual-inversion embeddings: three vectors for CLIP-L alone, and two for L and G."""
    folder = tmp_path_factory.mktemp("embeddings")
    make = torch.Generator().manual_seed(1)
    safetensors.torch.save_file(
        {"emb_params": torch.randn(3, 64, generator=make)}, folder / "my_cat-v2.safetensors"
    )
    safetensors.torch.save_file(
        {"clip_l": torch.randn(2, 64, generator=make), "clip_g": torch.randn(2, 48, generator=make)},
        folder / "both.safetensors",
    )
    return str(folder)


@pytest.fixture(scope="module")
def pt(pack_module):
    return pack_module("gsn_ops.host.prompts.conditioning")


@pytest.fixture(scope="module")
def stock(host, embeddings):
    import comfy.sd1_clip as sd1

    return build(sd1.SD1Tokenizer, sd1.SD1ClipModel, {"clip_l": L}, embeddings)


@pytest.fixture(scope="module")
def clip(stock, pt):
    return pt.with_token_metadata(stock)


@pytest.fixture(scope="module")
def sdxl(host, pt, embeddings):
    import comfy.sdxl_clip as sdxl

    return pt.with_token_metadata(
        build(sdxl.SDXLTokenizer, sdxl.SDXLClipModel, {"clip_l": L, "clip_g": G}, embeddings)
    )


@pytest.fixture(scope="module")
def flux(host, pt):
    import comfy.text_encoders.flux as flux

    return pt.with_token_metadata(build(flux.FluxTokenizer, flux.flux_clip(), {"clip_l": L, "t5xxl": T5}))


def encode(clip, text, **options):
    with torch.inference_mode():
        return clip.encode_from_tokens_scheduled(clip.tokenize(text, **options))


def remembered(pt, conditioning):
    return conditioning[0][1][pt.KEY]


def noun_columns(subjects, tokens, word, encoder="l"):
    (found,) = subjects.resolve(subjects.parse_subjects(word), tokens)
    return list(found.noun.get(encoder, ()))


def changed_rows(clip, text, other, channels=slice(None)):
    """Rows of the conditioning that differ between two prompts."""
    a, b = (encode(clip, t)[0][0][0, :, channels] for t in (text, other))
    n = min(len(a), len(b))
    return (a[:n] != b[:n]).any(-1).nonzero().flatten().tolist()


# --- nothing changes
@pytest.mark.parametrize(
    "text", [PROMPT, "", "a cat, " * 40 + "and a zebra", "a photo of embedding:my_cat-v2, and a dog"]
)
def test_conditioning_is_bit_equal_to_stock(stock, clip, pt, text):
    with torch.inference_mode():
        ((ours, extra),) = clip.encode_from_tokens_scheduled(clip.tokenize(text), add_dict={"width": 64})
        ((theirs, plain),) = stock.encode_from_tokens_scheduled(stock.tokenize(text), add_dict={"width": 64})
    assert torch.equal(ours, theirs) and torch.equal(extra["pooled_output"], plain["pooled_output"])
    assert set(extra) == {*plain, pt.KEY} and extra["width"] == 64


def test_sampled_latent_is_bit_equal_to_stock(tiny):
    prompt = "a red circle, a blue square and a green star"
    ours = tiny.sample(positive=tiny.encode(prompt), negative=tiny.encode(""))
    stock = tiny.sample(positive=tiny.encode(prompt, plain=True), negative=tiny.encode("", plain=True))
    assert torch.equal(ours, stock)


def test_tokens_are_those_of_the_host(stock, clip):
    for options in ({}, {"return_word_ids": True}):
        assert clip.tokenize(PROMPT, **options) == stock.tokenize(PROMPT, **options)


def test_reading_a_prompt_changes_nothing_and_loads_nothing(stock, pt, pack_module):
    import comfy.model_management

    clip = pt.with_token_metadata(stock)
    tokens = clip.tokenize(PROMPT)
    encode(clip, "a cat")
    model = clip.cond_stage_model
    before = {name: dict(m.__dict__) for name, m in model.named_modules()}
    children = {name: dict(m._modules) for name, m in model.named_modules()}
    loaded = list(comfy.model_management.current_loaded_models)
    weights = [p._version for p in model.parameters() if not p.is_inference()]
    pack_module("gsn_ops.host.prompts.token_alignment").read_prompt(clip, tokens)
    assert {name: dict(m.__dict__) for name, m in model.named_modules()} == before
    assert {name: dict(m._modules) for name, m in model.named_modules()} == children
    assert comfy.model_management.current_loaded_models == loaded
    assert [p._version for p in model.parameters() if not p.is_inference()] == weights


def test_the_clip_it_was_made_from_stays_untagged(stock, pt):
    pt.with_token_metadata(stock)
    assert pt.KEY not in encode(stock, "a cat")[0][1]


def test_a_text_encoder_that_cannot_be_read_still_encodes(stock, pt, caplog):
    class Unknown:
        def tokenize_with_weights(self, *args, **kwargs):
            return stock.tokenizer.tokenize_with_weights(*args, **kwargs)

    clip = pt.with_token_metadata(stock)
    clip.tokenizer = Unknown()
    conditioning = encode(clip, "a cat")
    assert torch.equal(conditioning[0][0], encode(stock, "a cat")[0][0])
    assert remembered(pt, conditioning).notes == (
        "the tokens of this text encoder cannot be read: it has no tokenizer 'l'",
    )
    assert "cannot read the tokens of SD1ClipModel" in caplog.text


# --- words and columns
def test_pieces_text_and_chunks_of_a_prompt(clip, pt):
    tokens = remembered(pt, encode(clip, PROMPT))
    (encoder,) = tokens.encoders
    assert (encoder.name, tokens.rows, encoder.chunks) == ("l", 77, ((1, 17, 77),))
    assert encoder.text == "a photo of a giraffe , and a t - shirt ; caf\u00e9 \u732b"
    assert [p.column for p in encoder.pieces] == list(range(1, 17))
    assert [encoder.text[p.start : p.stop] for p in encoder.pieces] == [
        *encoder.text.split()[:-1],
        *["\u732b"] * 3,
    ]
    assert encoder.pieces[4].text == "giraffe</w>"


def test_an_empty_prompt_has_no_pieces(clip, pt):
    tokens = remembered(pt, encode(clip, ""))
    assert (
        tokens.encoders[0].pieces == () and tokens.encoders[0].chunks == ((1, 1, 77),) and tokens.rows == 77
    )


@pytest.mark.parametrize(
    "text, word, other",
    [
        ("a photo of a giraffe and a dog", "giraffe", "zebra"),
        ("a photo of a giraffe and a dog", "dog", "cat"),
        ("a giraffe, (a red:1.3) car (and a dog:0.8)", "car", "bench"),
        ("A RED Car!", "car", "bench"),
        ("a t-shirt and a hot dog", "hot dog", "hot cat"),
        ("x and a dog", "dog", "cat"),
        ("0 dogs and a dog", "dog", "cat"),
        ("a cat, " * 40 + "and a zebra", "zebra", "horse"),
        ("embedding:my_cat-v2 and a dog", "dog", "cow"),
        ("a dog, BREAK a red cat", "cat", "cow"),
    ],
)
def test_the_first_row_that_changes_with_a_word_is_its_column(clip, pt, subjects, text, word, other):
    columns = noun_columns(subjects, remembered(pt, encode(clip, text)), word)
    head, _, tail = text.lower().rpartition(word) if word != "car" else text.lower().partition(word)
    changed = changed_rows(clip, text.lower(), head + other + tail)
    different = next(n for n, (a, b) in enumerate(zip(word.split(), other.split())) if a != b)
    assert changed[0] == columns[different]


def test_row_125_of_a_long_prompt(clip, pt, subjects):
    tokens = remembered(pt, encode(clip, "a cat, " * 40 + "and a zebra"))
    assert tokens.rows == 154 and tokens.encoders[0].chunks == ((1, 76, 77), (78, 126, 154))
    assert noun_columns(subjects, tokens, "zebra") == [125]
    assert [(s.start, s.stop) for s in tokens.spans("legacy_sd1")] == [(1, 76), (78, 153)]
    assert [(s.start, s.stop) for s in tokens.spans("prompt_only")] == [(1, 76), (78, 126)]


def test_a_weighted_part_is_moved_whole_to_the_next_chunk(clip, pt, subjects):
    text = "cat " * 73 + "(a red zebra:1.2) here"
    tokens = remembered(pt, encode(clip, text))
    assert tokens.encoders[0].chunks == ((1, 74, 77), (78, 82, 154))
    (zebra,) = subjects.resolve(subjects.parse_subjects("red zebra"), tokens)
    assert zebra.columns("phrase") == {"l": (79, 80)}
    assert changed_rows(clip, text, text.replace("zebra", "horse"))[0] == 80


def test_words_in_several_pieces(clip, pt, subjects):
    tokens = remembered(pt, encode(clip, "a cat and a catamaran, a cat\u0301 \u732b"))
    assert noun_columns(subjects, tokens, "catamaran") == [5, 6, 7]
    assert noun_columns(subjects, tokens, "cat") == [2]
    assert len(noun_columns(subjects, tokens, "\u732b")) == 3


# --- textual-inversion embeddings
@pytest.mark.parametrize(
    "text",
    [
        "a photo of embedding:my_cat-v2, and a dog",
        "a photo of (embedding:my_cat-v2:1.2) and a dog",
        "a photo of embedding:my_cat-v2 and a dog",
    ],
)
def test_embeddings_keep_their_name_and_their_rows(clip, pt, subjects, text):
    tokens = remembered(pt, encode(clip, text))
    for typed in ("embedding:my_cat-v2", "my_cat-v2", "photo embedding:my_cat-v2"):
        assert noun_columns(subjects, tokens, typed) == [4, 5, 6]
    assert changed_rows(clip, text, text.replace("dog", "cow"))[0] == noun_columns(subjects, tokens, "dog")[0]
    assert "embedding:my_cat-v2" in pt.token_table(tokens)


def test_two_embeddings_and_one_without_a_file(clip, pt, subjects):
    tokens = remembered(
        pt, encode(clip, "embedding:both embedding:nowhere, embedding:both embedding:my_cat-v2")
    )
    assert noun_columns(subjects, tokens, "embedding:both") == [1, 2]
    assert noun_columns(subjects, tokens, "embedding:both#2") == [4, 5]
    assert noun_columns(subjects, tokens, "my_cat-v2") == [6, 7, 8]


def test_an_embedding_of_another_width_shifts_only_the_encoder_that_takes_it(sdxl, pt, subjects):
    text = "a photo of embedding:my_cat-v2 and a dog"
    tokens = remembered(pt, encode(sdxl, text))
    assert (
        noun_columns(subjects, tokens, "dog", "l")
        == changed_rows(sdxl, text, text[:-3] + "cow", slice(0, 64))[:1]
        == [9]
    )
    assert (
        noun_columns(subjects, tokens, "dog", "g")
        == changed_rows(sdxl, text, text[:-3] + "cow", slice(64, None))[:1]
        == [6]
    )
    assert "embedding:my_cat-v2 does not fit the text encoder g, which leaves it out" in tokens.notes
    assert noun_columns(subjects, tokens, "my_cat-v2", "g") == []


def test_tokens_made_by_another_pack_lose_only_the_names(stock, clip, pt, subjects):
    tokens = stock.tokenize("a photo of embedding:my_cat-v2 and a dog")
    with torch.inference_mode():
        seen = remembered(pt, clip.encode_from_tokens_scheduled(tokens))
    assert noun_columns(subjects, seen, "dog") == [9]
    assert seen.notes == ("the names of the textual-inversion embeddings in this prompt are not known",)


def test_pictures_in_the_prompt_are_said_to_hide_the_rows(clip, pt, subjects):
    tokens = clip.tokenize("a cat and a dog")
    tokens["l"][0][2] = ({"type": "image"}, 1.0)
    seen = pt.read_prompt(clip, tokens)
    with pytest.raises(
        ValueError, match="'dog' is in the prompt, but .* to the model: the text encoder l reads images too"
    ):
        subjects.resolve(subjects.parse_subjects("dog"), seen)


# --- other families
def test_sdxl_one_row_holds_both_encoders(sdxl, pt, subjects):
    text = "a giraffe and a red bench"
    tokens = remembered(pt, encode(sdxl, text))
    (bench,) = subjects.resolve(subjects.parse_subjects("red bench"), tokens)
    assert bench.noun == {"l": (6,), "g": (6,)} and bench.modifiers == ({"l": (5,), "g": (5,)},)
    assert changed_rows(sdxl, text, text.replace("red", "blue"))[0] == 5
    assert {e.name: e.chunks for e in tokens.encoders} == {"l": ((1, 7, 77),), "g": ((1, 7, 77),)}


def test_sdxl_with_two_texts_of_different_length(host, sdxl, pt, subjects):
    from comfy_extras.nodes_clip_sdxl import CLIPTextEncodeSDXL

    with torch.inference_mode():
        (conditioning,) = CLIPTextEncodeSDXL.execute(
            sdxl, 64, 64, 0, 0, 64, 64, "a cat, " * 40 + "and a zebra", "a dog in oil"
        ).args
    tokens = remembered(pt, conditioning)
    assert noun_columns(subjects, tokens, "zebra", "g") == [125] and noun_columns(
        subjects, tokens, "dog", "l"
    ) == [2]
    by_name = {e.name: e for e in tokens.encoders}
    assert by_name["l"].text == "a dog in oil" and by_name["l"].chunks == ((1, 5, 77), (78, 78, 154))
    assert pt.read(conditioning)[0].rows == 154


def test_flux_columns_are_those_of_t5_and_the_pooled_encoder_has_none(flux, pt, subjects):
    text = "a giraffe and a red bench"
    tokens = remembered(pt, encode(flux, text))
    (bench,) = subjects.resolve(subjects.parse_subjects("red bench"), tokens)
    ours, other = (encode(flux, t)[0][0][0] for t in (text, text.replace("red", "new")))
    (red,) = bench.modifiers
    assert red == {"t5xxl": (int((ours - other).abs().amax(-1).argmax()),)}  # not causal: the largest change
    assert bench.noun == {"t5xxl": tuple(c + 1 for c in red["t5xxl"])}
    by_name = {e.name: e for e in tokens.encoders}
    assert by_name["l"].chunks == () and {p.column for p in by_name["l"].pieces} == {None}
    assert by_name["t5xxl"].chunks[0][0] == 0 and by_name["t5xxl"].chunks[0][2] == tokens.rows == 256
    assert by_name["t5xxl"].text == text


def test_t5_bare_marks_belong_to_no_word_and_unknown_characters_are_said(flux, pt, subjects):
    tokens = remembered(pt, encode(flux, "a Giraffe with a sombrero, \u732b"))
    t5 = {e.name: e for e in tokens.encoders}["t5xxl"]
    assert [p.text for p in t5.pieces[:6]] == ["\u2581", "a", "\u2581Gir", "a", "ffe", "\u2581with"]
    assert (t5.pieces[0].start, t5.pieces[0].stop) == (0, 0)
    assert noun_columns(subjects, tokens, "giraffe", "t5xxl") == [2, 3, 4]
    assert "the text encoder t5xxl does not know some characters of the prompt" in tokens.notes


@pytest.mark.parametrize("with_t5", [True, False])
def test_sd3_rows_of_t5_follow_those_of_clip(host, pt, subjects, with_t5):
    import comfy.text_encoders.sd3_clip as sd3

    configs = {"clip_l": L, "clip_g": G, "t5xxl": {**T5, "d_model": 4096}}
    clip = pt.with_token_metadata(build(sd3.SD3Tokenizer, sd3.sd3_clip(t5=with_t5), configs))
    tokens = pt.read_prompt(clip, clip.tokenize("a giraffe and a red bench"))
    (bench,) = subjects.resolve(subjects.parse_subjects("red bench"), tokens)
    (red,) = bench.modifiers
    t5 = {e.name: e for e in tokens.encoders}["t5xxl"]
    assert tokens.rows == (154 if with_t5 else 77)
    assert red == {
        "l": (5,),
        "g": (5,),
        **({"t5xxl": (77 + [p.text for p in t5.pieces].index("\u2581red"),)} if with_t5 else {}),
    }
    assert t5.chunks == (((77, 77 + len(t5.pieces), 154),) if with_t5 else ())


# --- clones, clip skip, LoRA, hooks, the nodes
def lora():
    make = torch.Generator().manual_seed(2)
    key = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    return {
        f"{key}.lora_up.weight": torch.randn(64, 2, generator=make),
        f"{key}.lora_down.weight": torch.randn(2, 64, generator=make),
        f"{key}.alpha": torch.tensor(2.0),
    }


def same_words(pt, conditioning, expected):
    tokens = remembered(pt, conditioning)
    return dataclasses.replace(tokens, checksum=None) == dataclasses.replace(expected, checksum=None)


def test_clip_skip_lora_and_hooks_keep_the_memory(host, stock, pt, subjects):
    import comfy.hooks
    import comfy.sd
    from comfy_extras.nodes_hooks import SetClipHooks

    clip = pt.with_token_metadata(stock, subjects.parse_subjects("giraffe"))
    expected = remembered(pt, encode(clip, PROMPT))
    (skipped,) = host.CLIPSetLastLayer().set_last_layer(clip, -2)
    _, patched = comfy.sd.load_lora_for_models(None, clip, lora(), 1.0, 1.0)
    hooks = comfy.hooks.create_hook_lora(lora=lora(), strength_model=1.0, strength_clip=1.0)
    hooked, scheduled = (
        SetClipHooks().apply_hooks(clip, schedule_clip=s, apply_to_conds=True, hooks=hooks)[0]
        for s in (False, True)
    )
    plain = encode(stock, PROMPT)[0][0]
    for changed in (skipped, patched, hooked, scheduled, skipped.clone()):
        conditioning = encode(changed, PROMPT)
        assert not torch.equal(conditioning[0][0], plain)
        assert (
            same_words(pt, conditioning, expected)
            and remembered(pt, conditioning).subjects[0].label == "giraffe"
        )
        assert pt.read_entry(conditioning[0][0], remembered(pt, conditioning))[1] == ()


def test_remembering_twice_takes_the_new_subjects(clip, pt, subjects):
    again = pt.with_token_metadata(
        pt.with_token_metadata(clip, subjects.parse_subjects("cat")), subjects.parse_subjects("dog")
    )
    assert [s.label for s in remembered(pt, encode(again, "a cat and a dog")).subjects] == ["dog"]
    assert type(again) is type(clip)


def test_a_clip_of_another_pack_keeps_its_class(stock, pt):
    import comfy.sd

    class Foreign(comfy.sd.CLIP):
        def clone(self, *args, **kwargs):
            clone = super().clone(*args, **kwargs)
            clone.__class__ = Foreign
            return clone

    foreign = stock.clone()
    foreign.__class__ = Foreign
    clip = pt.with_token_metadata(foreign)
    assert isinstance(clip, Foreign) and isinstance(clip.clone(), type(clip))
    assert remembered(pt, encode(clip.clone(), "a cat")).encoders[0].text == "a cat"


@pytest.fixture(scope="module")
def pair(clip):
    return encode(clip, "a cat and a dog"), encode(clip, "a red car")


def test_areas_ranges_and_masks_keep_the_memory(host, pair, pt):
    (cat, _), expected = pair, remembered(pt, pair[0])
    for conditioning in (
        host.ConditioningSetTimestepRange().set_range(cat, 0.0, 0.5)[0],
        host.ConditioningSetArea().append(cat, 64, 64, 0, 0, 1.0)[0],
        host.ConditioningSetMask().append(cat, torch.ones(1, 8, 8), "default", 1.0)[0],
    ):
        assert pt.tokens_of(conditioning) == pt.read(conditioning)[0] == expected


def test_combined_prompts_are_each_remembered(host, pair, pt):
    (both,) = host.ConditioningCombine().combine(*pair)
    assert [extra[pt.KEY].encoders[0].text for _, extra in both] == ["a cat and a dog", "a red car"]
    assert [tokens.notes for tokens in pt.read(both)] == [(), ()]


# --- refusals
def test_no_remembered_prompt_says_which_node_adds_it(stock, pt):
    plain = encode(stock, "a prompt that no CLIP of this pack has seen")
    assert pt.tokens_of(plain) is None
    for ask in (
        lambda: pt.read(plain),
        lambda: pt.read_entry(plain[0][0], None),
        lambda: pt.with_subjects(plain, ()),
    ):
        with pytest.raises(
            ValueError,
            match=(
                "has no token data from this pack.*'Semantic Nursing'.*'CLIP "
                "Text Encode .GSN.'.*'Set Subjects'"
            ),
        ):
            ask()


def test_an_all_zero_conditioning_is_refused(host, pair, pt):
    (zero,) = host.ConditioningZeroOut().zero_out(pair[0])
    assert pt.KEY in zero[0][1]
    with pytest.raises(ValueError, match="all zeros .ConditioningZeroOut.*Connect the prompt itself"):
        pt.read(zero)


def test_a_conditioning_with_too_few_rows_is_refused(pair, pt):
    ((rows, extra),) = pair[0]
    with pytest.raises(
        ValueError, match="has 20 rows, but its prompt 'a cat and a dog' made 77.*Encode the prompt again"
    ):
        pt.read([[rows[:, :20], extra]])


def test_an_unread_prompt_is_refused_with_its_reason(pair, pt, pack_module):
    ((rows, extra),) = pair[0]
    unread = dataclasses.replace(
        extra[pt.KEY], encoders=(), notes=("the tokens of this text encoder cannot be read: it speaks Welsh",)
    )
    with pytest.raises(
        ValueError, match="text tokens of this prompt are not known: .*it speaks Welsh. Use the stock sampler"
    ):
        pt.read([[rows, {pt.KEY: unread}]])


# --- Set Subjects, token table
def test_subjects_for_a_conditioning_that_remembers(pair, pt, subjects):
    out = pt.with_subjects(pair[0], subjects.parse_subjects("dog"))
    assert [s.label for s in remembered(pt, out).subjects] == ["dog"] and out[0][0] is pair[0][0][0]
    assert remembered(pt, pair[0]).subjects == ()


def test_subjects_for_a_conditioning_made_elsewhere(stock, pt, subjects):
    out = pt.with_subjects(
        encode(stock, "a cat and a dog"), subjects.parse_subjects("dog"), stock, "a cat and a dog"
    )
    assert noun_columns(subjects, pt.read(out)[0], "dog") == [5]


def test_a_text_that_does_not_fit_the_conditioning_is_refused(stock, pt, subjects):
    with pytest.raises(ValueError, match="has 77 rows, but its prompt .* made 154"):
        pt.with_subjects(
            encode(stock, "a cat"), subjects.parse_subjects("zebra"), stock, "a cat, " * 40 + "and a zebra"
        )


def test_the_token_table_reads_well(clip, pt, subjects):
    tokens = remembered(
        pt, encode(pt.with_token_metadata(clip, subjects.parse_subjects("red catamaran")), "a red catamaran")
    )
    assert pt.token_table(tokens).splitlines() == [
        "encoder  column  piece    text  subject",
        "l        1       a</w>    a",
        "l        2       red</w>  red   red catamaran (modifier)",
        "l        3       cat      cat   red catamaran",
        "l        4       amar     amar  red catamaran",
        "l        5       an</w>   an    red catamaran",
    ]


def test_the_token_table_shows_a_subject_that_is_missing(clip, pt, subjects):
    tokens = remembered(pt, encode(pt.with_token_metadata(clip, subjects.parse_subjects("zebra")), "a cat"))
    assert (
        pt.token_table(tokens).splitlines()[-1].startswith("note: The subject 'zebra' is not in the prompt")
    )
