# `make` without arguments lists the targets. Every target first sets up .venv if it is missing or out of date.
PYTHON = python3
VENV   = .venv
BUILD  = build/starter
PIECES = 1600
ROUTE  = spectrogram
SEED   = 0
OUT    = outputs
PORT   = 7860
INPUTS = 20000
# Clips per prompt, and the negative prompt.
VARIATIONS = 1
NEGATIVE   =
# good: the few-step students in pretrained/ that are as good as their teachers (docs/few_steps.md); fast: all students;
# full: the teachers, which a negative prompt needs.
QUALITY    = $(if $(NEGATIVE),full,good)
AS_GOOD    = spectrogram_vocoder waveform_cascader
PRETRAINED = pretrained
# Prompts of an evaluation: those of held-out recordings, or 64 in people's own words (free).
PROMPTS  = held-out
FREE_SET = $(if $(filter free,$(PROMPTS)),--data.evaluation_set lightning_n2m.evaluation.free_prompts.FreePrompts --evaluation.refiner_clips 0)
# Tempo in beats per minute, and key ("D minor"); what the prompt names if empty.
BPM =
KEY =
# A recording to continue, repair (from second FROM to TO) or vary, or a plan of sections.
CONTINUE =
REPAIR   =
VARY     =
SECTIONS =
# Processors with AMX or AVX512-BF16 are several times faster in 16 bits, all others slower.
PRECISION = $(shell grep -qsE 'amx_bf16|avx512_bf16' /proc/cpuinfo && echo bf16-mixed || echo 32-true)
# What `make starter` trains on: cpu, or gpu for one CUDA device, with four times as many clips in a batch and the same number of steps.
DEVICE = cpu
BATCH  = $$((4 * $$(sed -n 's/^ *batch_size: //p' $<)))
GPU    = -c configs/trainer/one_gpu.yaml --data.batch_size $(BATCH)
$(if $(filter-out cpu gpu,$(DEVICE)),$(error DEVICE is $(DEVICE); give cpu or gpu))
FIT    = fit -c $<$(if $(filter gpu,$(DEVICE)), $(GPU))
# Allocator settings for training on a CPU; the file explains them.
CPU_ENV = env $$(grep -v '^\#' configs/trainer/cpu.env)
# Not ?=, which would take the SECONDS variable of a surrounding bash.
SECONDS = 30
unexport SECONDS

# Free text reaches the program unchanged: neither make nor the shell may expand its $ ` " '.
override PROMPT := $(value PROMPT)
override OUT := $(value OUT)
override NEGATIVE := $(value NEGATIVE)
override KEY := $(value KEY)
override BPM := $(value BPM)
override CONTINUE := $(value CONTINUE)
override REPAIR := $(value REPAIR)
override VARY := $(value VARY)
override SECTIONS := $(value SECTIONS)
export PROMPT OUT NEGATIVE KEY BPM CONTINUE REPAIR VARY SECTIONS

RUN     := $(VENV)/bin/python
PIP     := $(RUN) -m pip install -qq --disable-pip-version-check
STAMP   := $(VENV)/installed
NO_DEPS := requirements-no-deps.txt
STAGES  := waveform_generator waveform_cascader spectrogram_generator spectrogram_vocoder super_resolution

STAGES_OF_waveform    := waveform_generator waveform_cascader super_resolution
STAGES_OF_spectrogram := spectrogram_generator spectrogram_vocoder super_resolution
CHOSEN_fast := $(STAGES)
CHOSEN_good := $(AS_GOOD)
STUDENTS = $(foreach stage,$(filter $(CHOSEN_$(QUALITY)),$(STAGES_OF_$(ROUTE))),$(if $(wildcard $(PRETRAINED)/$(stage)_few/config.yaml),-c configs/cascade/few/$(stage).yaml))
# Kept music needs a generator that trained with known regions; it takes the place of a student.
EDITOR = $(if $(CONTINUE)$(REPAIR)$(SECTIONS),$(if $(wildcard $(PRETRAINED)/$(ROUTE)_generator_edit/config.yaml),-c configs/cascade/edit/$(ROUTE)_generator.yaml))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
MKDOCS  := NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs

.PHONY: help music play test evaluate starter students lint format docs fuzz mutants gpu bench tensorboard install starter-labels $(STAGES:%=starter-%) $(STAGES:%=student-%)

# EXTEND: seconds to add to the recording. EDIT: options of `predict` for it.
EXTEND   = $(SECONDS)
STRENGTH = 0.5
EDIT := $(if $(CONTINUE),--data.audio="$$CONTINUE" --data.extend=$(EXTEND))\
	$(if $(REPAIR),--data.audio="$$REPAIR" --data.regenerate=$(FROM):$(TO))\
	$(if $(VARY),--data.audio="$$VARY" --data.strength=$(STRENGTH))\
	$(if $(SECTIONS),--data.sections="$$SECTIONS")

ifeq ($(filter music,$(MAKECMDGOALS))|$(strip $(PROMPT)$(CONTINUE)$(REPAIR)$(VARY)$(SECTIONS)),music|)
$(error PROMPT is empty; give one: make music PROMPT="slow piano and soft strings")
endif
$(if $(filter full good fast,$(QUALITY)),,$(error QUALITY is $(QUALITY); choose full, good or fast))

help:
	@echo 'make TARGET [VARIABLE=value]'
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' Makefile

music: $(STAMP) ## generate music from text: PROMPT="..." [SECONDS=30] [SEED=0] [BPM=120] [KEY="D minor"] [VARIATIONS=1] [NEGATIVE="..."] [ROUTE=spectrogram] [QUALITY=full|fast] [OUT=outputs]; from a recording: CONTINUE=song.wav [EXTEND=30], REPAIR=song.wav FROM=8 TO=12, VARY=song.wav [STRENGTH=0.5]; by a plan: SECTIONS="0:30 calm piano; 30:60 drums enter"
	@$(RUN) -m lightning_n2m predict -c configs/cascade/$(ROUTE).yaml $(STUDENTS) $(EDITOR) --data.prompt="$$PROMPT" \
		--model.seconds=$(SECONDS) --model.seed=$(SEED) --data.variations=$(VARIATIONS) --model.negative="$$NEGATIVE" \
		$(if $(BPM),--model.bpm="$$BPM") $(if $(KEY),--model.key="$$KEY") --output.folder="$$OUT" --trainer.precision $(PRECISION) $(EDIT)

play: $(STAMP) ## a page to try it in a browser, on this machine only: [PORT=7860]
	@$(RUN) -m lightning_n2m.playground --port $(PORT) \
		--open_browser $(if $(DISPLAY)$(WAYLAND_DISPLAY),true,false)

test: $(STAMP) ## all tests; FAST=1 skips the slow ones
	@$(RUN) -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(if $(FAST),-m "not slow")

evaluate: $(BUILD)/shards/index.json ## the paper's metrics for pretrained/, with a report; builds the corpus first: [ROUTE=spectrogram] [PROMPTS=free] [BUILD=build/starter]
	@$(RUN) -m lightning_n2m test -c configs/cascade/$(ROUTE).yaml $(FREE_SET) --data.evaluation_set.shards $(BUILD)/shards \
		--evaluation.folder $(BUILD)/evaluation/$(ROUTE)$(if $(FREE_SET),_free) --evaluation.cache $(BUILD)/evaluation/cache \
		--evaluation.merge_into pretrained/evaluation.json --trainer.precision $(PRECISION)

lint: $(STAMP) ## ruff, mypy, import layers, import cycles
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy
	@$(VENV)/bin/lint-imports --no-logo
	@$(RUN) tools/check_cycles.py
	@$(RUN) tools/check_prose.py

format: $(STAMP) ## apply ruff's fixes and formatting
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

docs: $(STAMP) ## build the documentation site into build/site; a broken link is an error
	@$(MKDOCS) build --strict
	@echo 'build/site/index.html'

fuzz: $(STAMP) ## damaged inputs for every reader: [INPUTS=20000]
	@$(RUN) -m tests.integration.fuzzing --inputs $(INPUTS)

mutants: $(STAMP) ## test of the tests: apply known mutations one at a time; each must make a test fail
	@$(RUN) tools/mutants.py

gpu: $(STAMP) ## measure training and sampling on one CUDA device: a table and build/gpu.json
	@$(RUN) -m benchmarks.gpu

bench: $(STAMP) ## compare with other libraries, in one table: [NAMES="..."], all by default
	@$(RUN) -m benchmarks $(NAMES)

tensorboard: $(STAMP) ## curves and samples of the starter's training: [BUILD=build/starter]
	@$(VENV)/bin/tensorboard --logdir $(BUILD)/runs --samples_per_plugin audio=50,images=50

install: $(STAMP) ## set up .venv only

starter: $(STAGES:%=starter-%) ## corpus, shards, labels, all stages, pretrained/: [BUILD=build/starter] [PIECES=1600] [DEVICE=cpu|gpu]
	@echo 'pretrained/ holds the new weights: make music PROMPT="..." uses them.'

# One stage: make starter-STAGE. Finished steps are not repeated; to repeat one, remove its file under BUILD.
$(STAGES:%=starter-%): starter-%: $(BUILD)/runs/%/exported

$(STAGES:%=$(BUILD)/runs/%/exported): $(BUILD)/runs/%/exported: configs/starter/%.yaml $(BUILD)/labels/report.md
	$(CPU_ENV) $(RUN) -m lightning_n2m $(FIT) --data.shards $(BUILD)/shards --trainer.default_root_dir $(@D) \
		$(if $(filter gpu,$(DEVICE)),--data.num_workers 8,--trainer.precision $(PRECISION)) --ckpt_path last
	$(RUN) -m lightning_n2m export $(@D) pretrained/$*
	@touch $@

students: $(STAGES:%=student-%) ## few-step students of the stages in pretrained/, beside them: [BUILD=build/starter]

# One student: make student-STAGE.
$(STAGES:%=student-%): student-%: $(BUILD)/runs/%_few/exported

$(STAGES:%=$(BUILD)/runs/%_few/exported): $(BUILD)/runs/%_few/exported: configs/starter/%_few.yaml $(BUILD)/shards/index.json
	$(CPU_ENV) $(RUN) -m lightning_n2m $(FIT) --weights pretrained/$* --data.shards $(BUILD)/shards \
		--trainer.default_root_dir $(@D) \
		$(if $(filter gpu,$(DEVICE)),--data.num_workers 8,--trainer.precision $(PRECISION)) --ckpt_path last
	$(RUN) -m lightning_n2m export $(@D) pretrained/$*_few --base pretrained/$* --rank 8
	@touch $@

# Pseudo-labels: candidate captions, the joint model that selects from them, and the selection for each clip.
starter-labels: $(BUILD)/labels/report.md ## only the labels of the starter corpus: [MUSICCAPS=your/musiccaps-public.csv]

$(BUILD)/labels/report.md: $(BUILD)/vocabulary.parquet $(BUILD)/runs/mulan/exported
	$(RUN) -m data_pipeline embed --shards $(BUILD)/shards --joint pretrained/mulan --output $(BUILD)/embeddings \
		--features $(BUILD)/features
	$(RUN) -m data_pipeline label --shards $(BUILD)/shards --embeddings $(BUILD)/embeddings --vocabulary $< --report $(@D)

$(BUILD)/vocabulary.parquet: $(BUILD)/manifest.jsonl
	$(RUN) -m data_pipeline vocabulary --songs $< --tags general-midi,styles,moods,mtt,msd --output $@ \
		$(if $(MUSICCAPS),--musiccaps $(MUSICCAPS))

$(BUILD)/runs/mulan/exported: configs/starter/mulan.yaml $(BUILD)/shards/index.json
	$(RUN) -m lightning_n2m $(FIT) --data.shards $(BUILD)/shards --data.features $(BUILD)/features \
		--trainer.default_root_dir $(@D) --ckpt_path last \
		--model.audio.precision $(if $(filter bf16%,$(PRECISION)),bfloat16,float32)
	$(RUN) -m lightning_n2m export $(@D) pretrained/mulan
	@touch $@

$(BUILD)/shards/index.json: $(BUILD)/manifest.jsonl
	$(RUN) -m data_pipeline shard --manifest $< --output $(@D) --derive mel
	$(RUN) -m data_pipeline shard --output $(@D) --derive 3200

$(BUILD)/manifest.jsonl: $(BUILD)/music/metadata.jsonl
	$(RUN) -m data_pipeline manifest --source $(<D) --metadata $< --output $@

$(BUILD)/music/metadata.jsonl: | $(STAMP)
	$(RUN) -m data_pipeline starter --output $(@D) --pieces $(PIECES)

# The stamp is touched last: after a failed or interrupted install it is missing, and the next call installs again.
$(STAMP): pyproject.toml constraints.txt $(NO_DEPS)
	@test -x $(VENV)/bin/pip || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed, and $(PYTHON) is not: make PYTHON=/path/to/python3.11 ..." >&2; exit 2; }
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv --clear $(VENV)
	@echo 'Setting up $(VENV), once: PyTorch takes several minutes without output, and 6 GB on disk ...'
	@$(PIP) --constraint constraints.txt --editable '.[dev]'
	@$(PIP) --no-deps --requirement $(NO_DEPS)
	@touch $@
