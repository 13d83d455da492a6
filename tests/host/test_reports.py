"""The book of reports and latents made visible."""

import gc
import weakref

import pytest
import torch


@pytest.fixture
def reports(pack_module):
    return pack_module("gsn_ops.report.book")


@pytest.fixture
def preview(pack_module):
    return pack_module("gsn_ops.report.preview")


@pytest.fixture
def preview_matrix(pack_module):
    return pack_module("gsn_ops.host.sampling.sampler_report").preview_matrix


@pytest.fixture
def run(pack_module):
    """A function: a report that can be told from others by its sampler."""
    make = pack_module("gsn_ops.report.run_report").RunReport
    return lambda name: make("0.1.0", "SD15", name, 20, (), ())


def latent(seed: int) -> torch.Tensor:
    return torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_a_run_is_found_by_either_of_its_outputs(reports, run):
    book = reports.ReportBook()
    book.add(run("euler"), latent(1), latent(2))
    book.add(run("heun"), latent(3))
    assert book.find(latent(1)).sampler == book.find(latent(2)).sampler == "euler"
    assert book.find(latent(3)).sampler == book.last().sampler == "heun"
    assert book.find(latent(4)) is None
    assert len(book) == 2


def test_the_book_keeps_the_last_eight_and_the_newest_of_equal_runs(reports, run):
    book = reports.ReportBook()
    for i in range(10):
        book.add(run(str(i)), latent(i))
    assert len(book) == 8
    assert [book.find(latent(i)) is None for i in (0, 1, 2, 9)] == [True, True, False, False]
    book.add(run("again"), latent(5))
    assert len(book) == 8
    assert book.find(latent(5)).sampler == book.last().sampler == "again"


def test_an_empty_book(reports):
    book = reports.ReportBook()
    assert (book.last(), book.find(latent(0)), len(book)) == (None, None, 0)


def test_the_fingerprint_is_of_the_content(reports):
    x = latent(0)
    assert reports.fingerprint(x) == reports.fingerprint(
        x.clone().transpose(2, 3).contiguous().transpose(2, 3)
    )
    others = [x + 1e-7, x.reshape(1, 4, 4, 16), x.double(), x.half(), x[:, :2]]
    assert len({reports.fingerprint(t) for t in [x, *others]}) == 6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_fingerprints_of_every_dtype_in_and_out_of_inference_mode(reports, dtype):
    x = latent(0).to(dtype)
    with torch.inference_mode():
        inside = reports.fingerprint(x.clone())
    assert inside == reports.fingerprint(x)


def test_a_latent_of_several_parts_has_a_fingerprint(reports, host):
    from comfy.nested_tensor import NestedTensor

    both = reports.fingerprint(NestedTensor([latent(0), latent(1)]))
    assert both == reports.fingerprint(NestedTensor([latent(0), latent(1)]))
    assert both != reports.fingerprint(NestedTensor([latent(1), latent(0)]))


def test_the_book_keeps_no_output_alive(reports, run):
    book, output = reports.ReportBook(), latent(0)
    alive = weakref.ref(output)
    book.add(run("euler"), output)
    del output
    gc.collect()
    assert alive() is None


def test_preview_colours_are_those_of_the_hosts_previewer(preview, preview_matrix, host):
    import comfy.latent_formats as formats
    import latent_preview

    checked = 0
    for kind in (formats.SD15, formats.SDXL, formats.SDXL_Playground_2_5, formats.SD3, formats.Flux):
        form = kind()
        matrix = preview_matrix(form)
        x = torch.randn(2, form.latent_channels, 4, 6, generator=torch.Generator().manual_seed(1))
        theirs = latent_preview.Latent2RGBPreviewer(form.latent_rgb_factors, form.latent_rgb_factors_bias)
        for b in range(2):
            image = theirs.decode_latent_to_preview(form.process_in(x[b : b + 1]))
            wanted = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(4, 6, 3).float()
            assert (
                preview.latent_rgb(x, matrix)[b] * 255 - wanted
            ).abs().max() <= 1.01  # theirs is cut to 8 bits
            checked += 1
    assert checked == 10


def test_formats_without_simple_colours_have_no_matrix(preview, preview_matrix, host):
    import comfy.latent_formats as formats

    assert preview_matrix(formats.LatentFormat()) is None
    assert preview_matrix(formats.Flux2()) is None
    assert preview.latent_images(latent(0), None, None) is None


def test_video_latents_show_their_first_frame(preview, preview_matrix, host):
    import comfy.latent_formats as formats

    form = formats.Wan21()
    video = torch.randn(1, 16, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    assert torch.equal(
        preview.latent_rgb(video, preview_matrix(form))[0],
        preview.latent_rgb(video[:, :, 0], preview_matrix(form))[0],
    )


def test_a_report_says_which_attention_was_read_when_and_who_chose_it(tiny):
    model, book = tiny.attach(step=1, report="off")
    tiny.sample(model)
    report = book.last()
    assert report.model == "demo model (UNet)"
    assert (
        report.default_step
        == "18 % of the noise schedule is sigma 5.59 here (ours: as on Stable Diffusion 1.x)"
    )
    assert [action.attention_read for action in report.recipes] == ["level 4 (ours: by validation)"]


@pytest.mark.parametrize(
    "family, needs, said",
    (
        (
            "unet.SD1",
            {},
            "level 4 (published: Latent Refine, Attend-and-Excite, SynGen (16x16 maps at 512 px))",
        ),
        ("unet.SD1", {"levels": (2, 4)}, "levels 2 and 4 (chosen)"),
        ("unet.SDXL", {"blocks": "5-12"}, "level 4, blocks 5-12 (chosen)"),
        ("unet.SDXL", {"blocks": "middle_up"}, "middle and first up block (chosen)"),
        ("sd3.SD3", {}, "all blocks (published: the SD3 code of Latent Refine)"),
        ("flux.FLUX", {"blocks": "middle_up"}, "double blocks (published: FOCUS; ours for other methods)"),
        ("flux.FLUX", {"blocks": "0-3"}, "blocks 0-3 (chosen)"),
    ),
)
def test_a_family_says_what_it_reads_for_an_objective(pack_module, family, needs, said):
    module, name = family.split(".")
    assert (
        getattr(pack_module(f"gsn_ops.host.architectures.{module}"), name).describe_capture(
            pack_module("gsn_ops.maps").MapNeeds(**needs)
        )
        == said
    )
