# bitloop: `make` alone prints the targets.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# the simulated board's own Python: pynq wants a NumPy before 2
BOARD_VENV  := .venv-board
BOARD_STAMP := $(BOARD_VENV)/.installed

MODEL   ?= cnv
BOARD   ?= pynq-z2
DATASET ?= auto
SEED    ?= 0
HOST    ?= simulated
ROUNDS  ?= 3

# torch's threads sleep instead of spinning while they wait: other work on the machine slows them less
export OMP_WAIT_POLICY = PASSIVE

# a variable that is set becomes the flag of the same name
flag = $(if $($(1)),--$(2) $($(1)))
COMMON := --model "$(MODEL)" --dataset "$(DATASET)" --seed $(SEED)
SEARCHED = $(COMMON) --board $(BOARD) $(call flag,DATA_DIR,data-dir) $(call flag,TRIALS,trials) \
          $(call flag,MIN_FPS,min-fps) $(call flag,MAX_UTIL,max-util) $(call flag,TOP_K,top-k) $(call flag,SEARCHER,searcher) \
          $(call flag,RETRAIN_IMAGES,retrain-images) $(call flag,FINAL_IMAGES,final-images) $(call flag,THREADS,threads) \
          $(call flag,DEVICE,device) $(call flag,CALIBRATION,calibration) $(call flag,FINALISTS,finalists) \
          $(if $(filter 1,$(HALVING)),--halving) $(call flag,WORKERS,workers) $(call flag,RAY_ADDRESS,ray-address)
# of make search alone: a loop seeks the highest accuracy that holds on the board
SOUGHT = $(call flag,OBJECTIVE,objective) $(call flag,MIN_ACCURACY,min-accuracy) $(call flag,STUDY,study) \
         $(call flag,WARM_START,warm-start)

# of a run that is there: RUN, or where make search puts it
RUN_DIR = $(or $(RUN),runs/$(subst :,-,$(MODEL))-$(basename $(notdir $(BOARD))))

IS_SIMULATED = $(filter simulated%,$(HOST))
ON_BOARD = --host "$(HOST)" $(call flag,BATCH_SIZES,batch-sizes) $(call flag,REPEATS,repeats) $(call flag,TIMEOUT,timeout) \
           $(call flag,MEASUREMENTS,measurements) $(call flag,IMAGES,images)

# of make bitstream: a BOARD that was said beside a RUN or POLICY, which have their own; alone it says which run
BOARD_OF_RUN = $(and $(filter command,$(origin BOARD)),$(or $(RUN),$(POLICY)))

.DEFAULT_GOAL := help
.PHONY: help setup doctor simulated-board search estimate retrain replay verify bitstream sim measure calibrate loop report dashboard graph board-check pretrain test test-slow bench-estimate bench-folding bench-train bench-proxy bench-accuracy bench-search bench-sim lint format type arch check clean

help: ## print the targets
	@echo "bitloop: the bits of every layer, found for an FPGA board"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  variables: MODEL=cnv|resnet8|resnet20|mobilenet|tfc|sfc|lfc|lenet5|kws|FILE.py:FUNCTION BOARD=pynq-z2 DATASET=auto|cifar10|mnist|fashion_mnist|digits|PATH DATA_DIR RUN TRIALS SEED"
	@echo "             MIN_FPS MAX_UTIL TOP_K OBJECTIVE=accuracy|fps|latency|utilisation MIN_ACCURACY SEARCHER=model-based|ddpg|thompson|random|..."
	@echo "             RETRAIN_IMAGES FINAL_IMAGES FINALISTS HALVING=1 THREADS DEVICE=auto|cpu|cuda"
	@echo "             WORKERS RAY_ADDRESS STORAGE=postgresql://user@host/database STUDY WARM_START=RUN"
	@echo "             POLICY QONNX FOLDING TARGET_FPS OUT IMAGES FORCE INSTRUMENTED"
	@echo "             FRAMES GAPS BACK_PRESSURE FIFOS=2|estimated|sized|unbounded SIZE_FIFOS=1 VCD=FILE"
	@echo "             HOST=simulated[:fault,...]|user@address ROUNDS PACKAGE BATCH_SIZES TEST_IMAGES CALIBRATION MEASUREMENTS"

setup: $(STAMP) ## make .venv, once

$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "bitloop: $(PYTHON) is not there; install Python 3.11, or say PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

# not as an argument, which every list of processes shows
ifdef STORAGE
search: export BITLOOP_STORAGE = $(STORAGE)
endif
search: $(STAMP) ## search the bits of every layer; no board, no Vivado, no GPU
	@$(BIN)/bitloop search $(call flag,RUN,run) $(SEARCHED) $(SOUGHT)

estimate: $(STAMP) ## what a policy costs, item by item (POLICY=…/policy.json, or WEIGHT_BITS and ACT_BITS)
	@$(BIN)/bitloop estimate $(COMMON) --board $(BOARD) $(call flag,DATA_DIR,data-dir) \
	  $(call flag,POLICY,policy) $(call flag,WEIGHT_BITS,weight-bits) $(call flag,ACT_BITS,act-bits) $(call flag,MIN_FPS,min-fps) $(call flag,MAX_UTIL,max-util) $(call flag,TOP_K,top-k) $(call flag,CHECK,check)

retrain: $(STAMP) ## retrain the best policy of RUN to convergence (EPOCHS, PATIENCE)
	@$(BIN)/bitloop retrain --run $(RUN_DIR) $(call flag,EPOCHS,epochs) $(call flag,PATIENCE,patience) \
		$(call flag,DATA_DIR,data-dir) $(call flag,THREADS,threads) $(call flag,DEVICE,device)

replay: $(STAMP) ## evaluate a trial of RUN once more (TRIAL=number) and hold it against what was kept
	@$(BIN)/bitloop replay --run $(RUN_DIR) --trial $(TRIAL) $(call flag,DATA_DIR,data-dir) $(call flag,THREADS,threads) \
		$(call flag,DEVICE,device)

verify: $(STAMP) ## QONNX file, streamlined graph and hardware layers of RUN against the trained network, bit for bit
	@$(BIN)/bitloop verify --run $(RUN_DIR) $(call flag,IMAGES,images)

bitstream: $(STAMP) ## the accelerator of RUN for its board (or POLICY=…/policy.json, or QONNX=….onnx with FOLDING or TARGET_FPS; OUT, IMAGES, FORCE=1)
	$(if $(filter-out 0 1,$(FORCE)),$(error FORCE=$(FORCE) is neither 0 nor 1; say FORCE=1 to build all the same))
	@$(BIN)/bitloop build $(if $(QONNX),--qonnx "$(QONNX)") $(if $(POLICY),--policy "$(POLICY)") $(if $(RUN),--run "$(RUN)") \
		$(if $(QONNX)$(POLICY)$(RUN),,--run "$(RUN_DIR)") $(if $(QONNX)$(BOARD_OF_RUN),--board $(BOARD)) \
		$(call flag,FOLDING,folding) $(call flag,TARGET_FPS,target-fps) $(call flag,TOP_K,top-k) \
		$(call flag,OUT,out) $(call flag,IMAGES,images) $(if $(filter 1,$(FORCE)),--force) \
		$(if $(filter 1,$(INSTRUMENTED)),--instrumented) $(call flag,MEASUREMENTS,measurements)

sim: $(STAMP) ## simulate the RTL of RUN's accelerator (or POLICY, QONNX), cycle by cycle, on real images (FRAMES, GAPS, BACK_PRESSURE, FIFOS, SIZE_FIFOS=1, VCD)
	@$(BIN)/bitloop sim $(if $(QONNX),--qonnx "$(QONNX)") $(if $(POLICY),--policy "$(POLICY)") $(if $(RUN),--run "$(RUN)") \
		$(if $(QONNX)$(POLICY)$(RUN),,--run "$(RUN_DIR)") $(if $(QONNX)$(BOARD_OF_RUN),--board $(BOARD)) \
		$(call flag,FOLDING,folding) $(call flag,TARGET_FPS,target-fps) $(call flag,TOP_K,top-k) \
		$(call flag,FRAMES,frames) $(call flag,GAPS,gaps) $(call flag,BACK_PRESSURE,back-pressure) $(if $(filter command,$(origin SEED)),--seed $(SEED)) \
		$(call flag,FIFOS,fifos) $(if $(filter 1,$(SIZE_FIFOS)),--size-fifos) $(call flag,VCD,vcd) $(call flag,TIMEOUT,timeout) \
		$(call flag,OUT,out) $(call flag,MEASUREMENTS,measurements)

doctor: $(STAMP) ## what this machine has, and what to do about what it has not
	@$(BIN)/bitloop doctor $(call flag,DATA_DIR,data-dir)

simulated-board: $(BOARD_STAMP) ## make .venv-board, the simulated board's Python with pynq, once

$(BOARD_STAMP): boards/simulated_board/requirements.txt
	@command -v $(PYTHON) >/dev/null || { echo "bitloop: $(PYTHON) is not there; install Python 3.11, or say PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(BOARD_VENV)
	$(BOARD_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r boards/simulated_board/requirements.txt
	@touch $(BOARD_STAMP)

measure: $(STAMP) $(if $(IS_SIMULATED),$(BOARD_STAMP)) ## run the build of RUN on a board (HOST=user@address), or on the simulated one
	@$(BIN)/bitloop measure $(if $(PACKAGE),--package "$(PACKAGE)",--run "$(RUN_DIR)" $(call flag,OUT,out)) $(ON_BOARD) \
		$(call flag,TEST_IMAGES,test-images) $(call flag,DATA_DIR,data-dir) $(if $(filter 1,$(INSTRUMENTED)),--instrumented)

calibrate: $(STAMP) ## estimated against measured; the next make search takes the correction (HOST=simulated… for that board)
	@$(BIN)/bitloop calibrate --board $(BOARD) $(if $(filter command,$(origin HOST)),--host "$(HOST)") \
		$(call flag,OUT,out) $(call flag,MEASUREMENTS,measurements)

loop: $(STAMP) $(if $(IS_SIMULATED),$(BOARD_STAMP)) ## search, build, measure, calibrate, and again: ROUNDS times, or until it holds
	$(foreach name,OBJECTIVE MIN_ACCURACY STORAGE STUDY WARM_START,$(if $($(name)),$(error make loop does not take $(name): it seeks the highest accuracy that reaches MIN_FPS on the board; leave it out, or run make search)))
	@$(BIN)/bitloop loop --rounds $(ROUNDS) $(call flag,LOOP,loop) $(SEARCHED) $(ON_BOARD)

report: $(STAMP) ## RUN as one page, report.html, that works offline (also while it searches)
	@$(BIN)/bitloop report "$(RUN_DIR)" $(call flag,OUT,out) $(call flag,MEASUREMENTS,measurements)

dashboard: $(STAMP) ## Optuna's dashboard on the trials of RUN, on this machine (PORT)
	@$(BIN)/bitloop dashboard "$(RUN_DIR)" $(call flag,PORT,port)

graph: $(STAMP) ## the network of RUN in Netron (FINN=1: FINN's hardware layers of its build; PORT)
	@$(BIN)/bitloop graph "$(RUN_DIR)" $(if $(filter 1,$(FINN)),--finn $(call flag,OUT,out)) $(call flag,PORT,port)

board-check: $(STAMP) $(if $(IS_SIMULATED),$(BOARD_STAMP)) ## look whether the board at HOST is ready
	@$(BIN)/bitloop board check --board $(BOARD) "$(HOST)"

pretrain: $(STAMP) ## train a model's float weights from scratch
	@$(BIN)/bitloop pretrain $(COMMON) $(call flag,DATA_DIR,data-dir) $(call flag,OUT,out) $(call flag,EPOCHS,epochs) $(call flag,THREADS,threads) $(call flag,DEVICE,device)

test: $(STAMP) $(BOARD_STAMP) ## run the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(STAMP) $(BOARD_STAMP) ## run the tests that take minutes
	$(BIN)/python -m pytest -n 2 -m slow

bench-estimate: $(STAMP) ## how much faster the tables are than FINN's flow
	$(BIN)/python -m benchmarks.bench_estimate --model $(MODEL)

bench-folding: $(STAMP) ## how much faster our foldings are than FINN's SetFolding
	$(BIN)/python -m benchmarks.bench_folding

bench-train: $(STAMP) ## how fast quantized networks train and switch bits, beside float and stock Brevitas
	$(BIN)/python -W ignore -m benchmarks.bench_train

bench-proxy: $(STAMP) ## which cheap reward ranks policies of cnv:0.25 as a long retraining does (hours; resumes)
	$(BIN)/python -W ignore -m benchmarks.bench_proxy

bench-accuracy: $(STAMP) ## accuracy of uniform bits after long retraining, beside published figures (two CPU hours; resumes)
	$(BIN)/python -W ignore -m benchmarks.bench_accuracy

bench-search: $(STAMP) ## how close each searcher comes to the best policy there is, at equal trials (hours; resumes)
	$(BIN)/python -W ignore -m benchmarks.bench_search

bench-sim: $(STAMP) ## estimated against simulated cycles over the zoo, and how fast simulations are (hours; resumes)
	$(BIN)/python -W ignore -m benchmarks.bench_sim

lint: $(STAMP) ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## ruff, mending
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: $(STAMP) ## mypy --strict
	$(BIN)/mypy

arch: $(STAMP) ## who may import whom
	$(BIN)/lint-imports

check: lint type arch test ## all of these

clean: ## remove .venv and caches; runs/ and data/ stay
	rm -rf $(VENV) $(BOARD_VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info
