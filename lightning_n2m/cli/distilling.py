"""The teacher of a distilled stage: read before `fit`, stored once in the folder of the run."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import LightningModule

from lightning_n2m.errors import InputError
from lightning_n2m.package_files import find_stage_folder
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.bundle import LAST, load_stage, read_config, write_bundle
from lightning_n2m.stages.teacher import Teacher, check_teacher
from lightning_n2m.storage import is_url

FOLDER = "teacher"


def prepare_teacher(model: LightningModule, root: str, folder: str | None, is_named: bool) -> None:
    """Give a distilled stage its teacher; other models are left alone.

    Args:
        model: The model of the command.
        root: Folder of the run; one that has been started holds its teacher.
        folder: Folder of the teacher for a new run.
        is_named: Whether ``--teacher`` names it.

    Raises:
        InputError: if there is no teacher, it does not fit the stage, or the stage has no use for it.
    """
    if not isinstance(model, Stage) or model.distillation is None:
        if is_named:
            raise InputError("--teacher is for distilled stages (model.distillation); remove it.")
        return
    stored = Path(root) / FOLDER
    if not is_url(root) and stored.is_dir() and (folder is None or (Path(root) / LAST).is_file()):
        folder = str(stored)
    if folder is None:
        raise InputError(
            f"{type(model).__name__} is distilled (model.distillation), and no teacher was given; add "
            "--weights FOLDER or --teacher FOLDER, the folder of a trained stage."
        )
    stage = load_stage(folder)
    check_teacher(model, stage, model.distillation)
    model.teacher = Teacher(stage)


def store_teacher(model: LightningModule, root: str, folder: str | None) -> None:
    """Copy the teacher into the folder of a new run; checkpoints hold its hash only.

    Args:
        model: The model of the training.
        root: Folder of the run. At a URL nothing is stored, and a resumed run needs the option again.
        folder: Folder of the teacher.
    """
    if not isinstance(model, Stage) or model.teacher is None or folder is None or is_url(root):
        return
    if (Path(root) / LAST).is_file():
        return
    weights = model.teacher.stage.network.state_dict()
    write_bundle(Path(root) / FOLDER, read_config(find_stage_folder(folder)), weights)
