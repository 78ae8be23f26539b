# What the program does. All but main.c is a library, for the fuzzers.
noinst_LIBRARIES += libtaumerge.a
libtaumerge_a_SOURCES = \
	src/apply.c \
	src/bind_base.c src/bind_base.h \
	src/budget.c src/budget.h \
	src/check.c src/check.h \
	src/codings.c src/codings.h \
	src/commands.c src/commands.h \
	src/compute.c \
	src/cpus.c src/cpus.h \
	src/diff.c \
	src/digests.c src/digests.h \
	src/encode.c \
	src/hash.c \
	src/inputs.c src/inputs.h \
	src/inspect.c \
	src/inspect_vector.c src/inspect_vector.h \
	src/made.c src/made.h \
	src/made_append.c \
	src/made_manifest.c src/made_manifest.h \
	src/manifest.c src/manifest.h \
	src/merge.c \
	src/options.c src/options.h \
	src/pipeline.h \
	src/plan.c src/plan.h \
	src/plan_apply.c \
	src/plan_bind.c \
	src/plan_diff.c \
	src/plan_layout.c \
	src/plan_output.c \
	src/plan_print.c \
	src/probe.c src/probe.h \
	src/products.c src/products.h \
	src/progress.c src/progress.h \
	src/recipe.h \
	src/record.c src/record.h \
	src/report.c src/report.h \
	src/results.c src/results.h \
	src/run.c src/run.h \
	src/side_files.c \
	src/signals.c src/signals.h \
	src/sources.c \
	src/staging.c src/staging.h \
	src/table.c src/table.h \
	src/task.c src/task.h \
	src/unit.c src/unit.h \
	src/unlisted.c src/unlisted.h \
	src/verify.c \
	src/verify_base.c src/verify_base.h \
	src/verify_vector.c src/verify_vector.h \
	src/workers.c \
	$(NULL)

bin_PROGRAMS += taumerge
taumerge_SOURCES = src/main.c
taumerge_LDADD = libtaumerge.a libio.a libkernels.a $(IO_LIBS)
