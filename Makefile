# The steps of continuous integration: `make STEP` is `bash .ci/run STEP`, `make` all but `lowest`. CONTRIBUTING.md says what each is for.
STEPS := environment lint types demo tests fuzz docs package lowest

.PHONY: all $(STEPS)

all:
	bash .ci/run

$(STEPS):
	bash .ci/run $@
