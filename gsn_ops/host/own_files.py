"""Files that people put into models/gsn for this pack."""

from __future__ import annotations

import os

import folder_paths

FOLDER = "gsn"


def own_files() -> list[str]:
    """Their names."""
    _know_folder()
    return folder_paths.get_filename_list(FOLDER)


def own_file(name: str) -> str | None:
    """The path of one; None if it is not there."""
    _know_folder()
    return folder_paths.get_full_path(FOLDER, name)


def _know_folder() -> None:
    """ComfyUI looks for them too, also in the folders of extra_model_paths.yaml."""
    if FOLDER not in folder_paths.folder_names_and_paths:
        folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
