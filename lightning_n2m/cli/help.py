"""Help of the commands: the options that people use, before any heavy import."""

from __future__ import annotations

OVERVIEW = """usage: n2m COMMAND [OPTIONS]        (or: python -m lightning_n2m COMMAND [OPTIONS])

Train and run the stages of Noise2Music.

commands:
  fit        train a stage:      fit -c configs/starter/waveform_generator.yaml
  validate   measure its loss:   validate -c RUN/config.yaml --ckpt_path RUN/checkpoints/last.ckpt
  test       the same on the test split; for a cascade, the paper's evaluation:
             test -c configs/cascade/waveform.yaml --data.evaluation_set.shards SHARDS
  predict    generate music:     predict -c configs/cascade/spectrogram.yaml --data.prompt "a slow waltz"
  ablate     the evaluation with other settings:  ablate -c configs/cascade/waveform.yaml --output FOLDER
  plan       parameters, memory and GPU-days of a training, before it runs:
             plan -c configs/paper/waveform_generator.yaml --gpus 64 --gpu a100
  export     weights and config of a run as one folder:  export RUN_FOLDER OUT_FOLDER [--best] [--card]
  push       upload a bundle to a model hub:             push FOLDER hf://ORG/NAME

'n2m COMMAND --help' lists the options of a command that people use, '--help_all' all of them.
'fit --model.help CLASS' and 'fit --data.help CLASS' list those of a stage and of its data
(WaveformGenerator, AudioDataModule, ...), '... -c CONFIG --print_config' prints the resulting config.

Exit codes: 0 done, 2 wrong input, 1 an error of the program, 128 + n after signal n (a training saves its
state first).
"""

_COMMON = """
  -c CONFIG               YAML file; a second one replaces values of the first. The project's
                          recipes are found from any folder: -c cascade/spectrogram.yaml
  --any.key VALUE         replace one value of the config; wins over -c wherever it stands
  --print_config          print the resulting config and stop
  --trust PACKAGE         let configs of stage folders name classes of this Python package
  --help_all              all options, with those of the trainer
"""

_HARDWARE = """
hardware:
  --trainer.accelerator   auto, cpu, gpu                                    (default: auto)
  --trainer.devices       number of devices                                 (default: auto)
  --trainer.precision     32-true, bf16-mixed                            (default: 32-true)
"""

COMMANDS = {
    "predict": f"""usage: n2m predict -c configs/cascade/ROUTE.yaml --data.prompt "..." [OPTIONS]

Generate music with a cascade. ROUTE is spectrogram or waveform.

what to generate:
  --data.prompt TEXT      one prompt, as free text; - reads prompts from standard input
  --data.file FILE        text file with a prompt a line, or -
  --data.variations N     clips of each prompt                                 (default: 1)
  --model.seconds S       length of each clip                                 (default: 30)
  --model.seed N          seed of all noise                                    (default: 0)
  --model.negative TEXT   prompt to lead away from
  --model.bpm N           tempo, and --model.key "D minor" the key; what the prompt names by default

from a recording (any format; needs no prompt), or by a plan:
  --data.audio FILE       the recording to continue, repair or vary
  --data.extend S         seconds to add after it; before it if negative
  --data.regenerate FROM:TO,...       seconds of it to generate again
  --data.strength W       how much these, or all of it, may differ: 0.01 to 1
  --data.sections "0:30 calm piano; 30:60 drums enter"               a long piece

where:
  --output.folder FOLDER  folder of the clips and of manifest.jsonl      (default: outputs)
  --output.format FORMAT  wav or flac                                        (default: wav)

how (generator may be refiner or super_resolution; default: the stage's own):
  --model.generator.folder FOLDER     what 'export' or 'fit' wrote, or its URL (hf://...)
  --model.generator.num_steps N       number of network steps
  --model.generator.guidance W        guidance scale
  --model.generator.method METHOD     ancestral, ddim, dpm++2m, sde-dpm++2m; few for a distilled one
  --model.generator.adapters LIST     adapters: '[{{folder: FOLDER, strength: 0.8}}]'
  --model.super_resolution null       stop at 16 kHz
  --data.batch_size N                 clips in one batch                       (default: 1)
{_HARDWARE}
general:{_COMMON}
The same command again generates only clips that are not in the folder yet.
""",
    "fit": f"""usage: n2m fit -c configs/RECIPE.yaml --data.shards SHARDS [OPTIONS]

Train one stage. Recipes: configs/starter/*.yaml for a laptop, configs/paper/*.yaml for GPUs,
with a second -c configs/trainer/*.yaml for the hardware.

data:
  --data.shards SHARDS        folder or URL of the shards; a list mixes several
  --data.batch_size N         clips in one batch, on each device
  --data.num_workers N        loader processes, on each device
  --data.validation_clips N   clips of the validation split

training:
  --trainer.default_root_dir RUN   folder of the run: checkpoints, config.yaml, TensorBoard
  --trainer.max_steps N            optimiser steps
  --trainer.val_check_interval N   steps between two validations
  --ckpt_path last                 resume the run in RUN
  --weights FOLDER                 start from the weights of another run or bundle, also by URL
  --adapter adapters/lora.yaml     train an adapter of --weights alone; also --adapter.rank N ...
  --model.optimisation.learning_rate R
  --model.seed N                   seed of crops, captions, times and noise
  --checkpoint.every_n_train_steps N

samples in TensorBoard:
  --samples.clips N                 --samples.prompts "[a slow waltz, techno]"
  --samples.every_n_validations N   --samples.num_steps N
{_HARDWARE}
general:{_COMMON}
Afterwards: n2m export RUN BUNDLE, then n2m predict with --model.generator.folder BUNDLE.
""",
}
COMMANDS["validate"] = f"""usage: n2m validate -c RUN/config.yaml --ckpt_path FILE [OPTIONS]

Measure the validation loss of a trained stage.

  --ckpt_path FILE        the checkpoint, RUN/checkpoints/last.ckpt
  --data.shards SHARDS    folder or URL of the shards
  --data.batch_size N     clips in one batch
{_HARDWARE}
general:{_COMMON}"""
COMMANDS["test"] = f"""usage: n2m test -c configs/cascade/ROUTE.yaml [OPTIONS]

The paper's evaluation of a cascade; with -c RUN/config.yaml, the loss of a stage on the test split.

  --data.evaluation_set NAME           Starter, MusicCaps, MagnaTagATune or AudioSetMusic
  --data.evaluation_set.shards SHARDS  folder of the shards (Starter)
  --data.evaluation_set.clips N        number of prompts
  --evaluation.folder FOLDER           folder of clips, metrics and report
  --evaluation.cache FOLDER            folder of the embeddings of reference music
  --evaluation.embedders LIST          models of the Frechet distances
  --model.seed N                       seed of all noise
{_HARDWARE}
general:{_COMMON}"""
