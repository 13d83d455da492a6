"""Every editing node and every case that it must take: which test shows it, or why none is needed."""

import re
from pathlib import Path

import pytest

HOST = Path(__file__).resolve().parents[1] / "host"
CASES = (
    "mask",
    "batch",
    "non-square",
    "odd sizes",
    "denoise",
    "cancel",
    "wrong model",
    "wrong VAE",
    "NaN or parts",
    "alpha",
    "off",
    "clean",
    "memory",
)
LATENT = "- it takes no picture: VAE Encode leaves alpha out"
PLAIN = "- passes as in any sampler run: ComfyUI's own estimate"
OF_A_TRAJECTORY = "- it takes a trajectory, which has the size and the part of the schedule"
STATE = "inversion: test_the_model_is_clean_afterwards_and_after_a_cancel"
TWO = "two_prompt_edits: test_all_are_clean_afterwards_and_after_a_cancel"
KIND = "editing_cases: test_another_kind_of_model_is_refused_before_the_first_call"
NAN = "editing_cases: test_nan_is_refused_before_the_first_call"
OWN_MASK = "editing_cases: test_each_picture_has_its_own_mask_whatever_its_sides"
OFTEN = "inversion: test_a_batch_is_inverted_as_each_alone_and_sizes_and_masks_are_kept"
NULL = "editing_cases: test_null_text_takes_odd_sizes_and_a_part_of_the_schedule_and_announces_its_memory"
JUDGE = "picture_guidance: test_"
FLOW = "two_prompt_edits: test_flow_edit_refuses_what_cannot_work"
RF = "two_prompt_edits: test_rf_inversion_refuses_what_cannot_work"
RF_MASK = "two_prompt_edits: test_a_mask_of_rf_inversion_keeps_the_rest_and_each_image_has_its_noise"
P2P = "prompt_to_prompt: test_"
MASKS = "two_prompt_edits: test_equal_prompts_have_no_mask_and_a_batch_has_one_for_each"

TABLE = {
    "GSNInvert": (
        OFTEN,
        OFTEN,
        OFTEN,
        OFTEN,
        "inversion: test_a_part_of_the_schedule_ends_lower_and_continues_with_any_sampler",
        STATE,
        "inversion: test_what_cannot_be_inverted_is_refused_with_the_cure",
        "inversion: test_what_cannot_be_inverted_is_refused_with_the_cure",
        NAN,
        LATENT,
        "- it gives noise, not a patched model",
        STATE,
        PLAIN,
    ),
    "GSNInversionSampler": (
        "inversion: test_outside_a_mask_the_picture_keeps_its_bits",
        OWN_MASK,
        OWN_MASK,
        OWN_MASK,
        "inversion: test_a_part_of_the_schedule_ends_lower_and_continues_with_any_sampler",
        "editing_cases: test_a_cancelled_run_leaves_the_model_as_it_was",
        KIND,
        "inversion: test_outside_a_mask_the_picture_keeps_its_bits",
        "editing_refusals: test_invert_image_and_its_sampler_refuse_other_latents",
        LATENT,
        "- a sampler: without it there is no run",
        "editing_cases: test_a_cancelled_run_leaves_the_model_as_it_was",
        PLAIN,
    ),
    "GSNDiffEditMask": (
        "- it makes the mask",
        MASKS,
        MASKS,
        MASKS,
        "two_prompt_edits: test_settings_of_the_mask_act",
        TWO,
        KIND,
        "two_prompt_edits: test_settings_of_the_mask_act",
        NAN,
        "two_prompt_edits: test_settings_of_the_mask_act",
        "- it gives a mask, not a patched model",
        TWO,
        PLAIN,
    ),
    "GSNNullText": (
        OF_A_TRAJECTORY,
        "null_text: test_images_of_a_batch_are_optimised_as_alone",
        NULL,
        NULL,
        NULL,
        "null_text: test_the_model_is_clean_afterwards_and_after_a_cancel",
        KIND,
        "editing_cases: test_null_text_refuses_the_trajectory_of_another_model",
        OF_A_TRAJECTORY,
        LATENT,
        "null_text: test_no_iterations_are_the_negative_prompt",
        "null_text: test_the_model_is_clean_afterwards_and_after_a_cancel",
        NULL,
    ),
    "GSNFlowEdit": (
        "two_prompt_edits: test_a_mask_keeps_the_rest_and_every_image_has_its_own_noise",
        "two_prompt_edits: test_a_mask_keeps_the_rest_and_every_image_has_its_own_noise",
        OWN_MASK,
        OWN_MASK,
        "two_prompt_edits: test_plain_steps_and_averages_act_and_end_at_a_clean_image",
        TWO,
        KIND,
        FLOW,
        "editing_cases: test_a_latent_of_several_parts_is_refused",
        LATENT,
        "two_prompt_edits: test_equal_prompts_give_the_image_back_bit_for_bit",
        TWO,
        PLAIN,
    ),
    "GSNRFInversion": (
        RF_MASK,
        RF_MASK,
        OWN_MASK,
        RF_MASK,
        "editing_cases: test_rf_inversion_takes_a_part_of_the_schedule",
        TWO,
        KIND,
        RF,
        "editing_cases: test_a_latent_of_several_parts_is_refused",
        LATENT,
        "two_prompt_edits: test_rf_inversion_keeps_the_image_by_eta_and_by_how_long_it_acts",
        TWO,
        PLAIN,
    ),
    "GSNPictureGuidance": (
        f"{JUDGE}outside_a_mask_nothing_changes",
        f"{JUDGE}flow_models_batches_and_other_sizes_are_guided",
        f"{JUDGE}flow_models_batches_and_other_sizes_are_guided",
        "editing_cases: test_guidance_by_a_judge_takes_odd_sizes_and_a_part_of_the_schedule",
        "editing_cases: test_guidance_by_a_judge_takes_odd_sizes_and_a_part_of_the_schedule",
        f"{JUDGE}the_model_is_clean_afterwards_and_after_a_cancel",
        f"{JUDGE}what_cannot_work_is_refused_with_the_cure",
        "editing_cases: test_guidance_by_a_judge_refuses_the_vae_of_another_model",
        "- a patch of the model: the sampler samples what it is given",
        LATENT,
        f"{JUDGE}off_is_stock_and_the_window_is_kept",
        f"{JUDGE}the_model_is_clean_afterwards_and_after_a_cancel",
        f"{JUDGE}less_memory_gives_the_same_picture",
    ),
    "GSNPromptToPrompt": (
        f"{P2P}a_latent_becomes_pairs_of_the_same_noise",
        f"{P2P}several_pairs_are_each_edited_as_alone",
        "editing_cases: test_prompt_to_prompt_takes_odd_sides_and_refuses_latents_of_several_parts",
        "editing_cases: test_prompt_to_prompt_takes_odd_sides_and_refuses_latents_of_several_parts",
        f"{P2P}an_image_is_edited_from_a_part_of_the_schedule",
        "editing_cases: test_a_cancelled_run_leaves_the_model_as_it_was",
        f"{P2P}prompts_that_cannot_be_paired_are_refused",
        "- a patch of the model: the sampler samples what it is given",
        "editing_cases: test_prompt_to_prompt_takes_odd_sides_and_refuses_latents_of_several_parts",
        LATENT,
        f"{P2P}an_edit_that_changes_nothing_gives_the_bits_of_the_plain_batch",
        f"{P2P}the_same_seed_gives_the_same_bits_and_the_model_is_as_before",
        PLAIN,
    ),
}


@pytest.mark.parametrize("node", TABLE)
def test_every_case_has_a_test_or_a_reason(node):
    for case, cell in zip(CASES, TABLE[node], strict=True):
        if cell.startswith("- "):
            continue
        module, name = re.fullmatch(r"(\w+): (test_\w+)", cell).groups()
        text = (HOST / f"test_{module}.py").read_text("utf-8")
        assert f"def {name}(" in text, f"{node}, {case}: there is no {cell}"
