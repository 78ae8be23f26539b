# What the program does. All but main.c is a library, for the fuzzers.
noinst_LIBRARIES += libtaumerge.a
libtaumerge_a_SOURCES = \
	src/apply.c \
	src/arc.c src/arc.h \
	src/argument.c src/argument.h \
	src/band.c src/band.h \
	src/bind_base.c src/bind_base.h \
	src/blend.c src/blend.h \
	src/budget.c src/budget.h \
	src/check.c src/check.h \
	src/codings.c src/codings.h \
	src/columns.c src/columns.h \
	src/commands.c src/commands.h \
	src/compute.c \
	src/config_file.c src/config_file.h \
	src/cpus.c src/cpus.h \
	src/diff.c \
	src/digests.c src/digests.h \
	src/dither.c src/dither.h \
	src/encode.c \
	src/evaluate.c src/evaluate.h \
	src/given.c src/given.h \
	src/gram.c src/gram.h \
	src/group.c src/group.h \
	src/hash.c \
	src/hub.c src/hub.h \
	src/inputs.c src/inputs.h \
	src/inspect.c \
	src/inspect_vector.c src/inspect_vector.h \
	src/layers.c src/layers.h \
	src/made.c src/made.h \
	src/made_append.c \
	src/made_manifest.c src/made_manifest.h \
	src/manifest.c src/manifest.h \
	src/merge.c \
	src/method.h \
	src/method_arcee_fusion.c \
	src/method_breadcrumbs.c \
	src/method_consensus.c \
	src/method_dare.c \
	src/method_della.c \
	src/method_emr.c \
	src/method_karcher.c \
	src/method_linear.c \
	src/method_lines.c \
	src/method_metagpt.c \
	src/method_model_stock.c \
	src/method_multislerp.c \
	src/method_nearswap.c \
	src/method_nuslerp.c \
	src/method_ram.c \
	src/method_sce.c \
	src/method_slerp.c \
	src/method_task_arithmetic.c \
	src/method_ties.c \
	src/methods.c src/methods.h \
	src/methods_command.c \
	src/names.c src/names.h \
	src/nearest.c src/nearest.h \
	src/options.c src/options.h \
	src/parameter.c src/parameter.h \
	src/pipeline.h \
	src/pivot.c src/pivot.h \
	src/place.c src/place.h \
	src/plan.c src/plan.h \
	src/plan_apply.c \
	src/plan_beside.c \
	src/plan_bind.c \
	src/plan_diff.c \
	src/plan_json.c \
	src/plan_layout.c \
	src/plan_list.c src/plan_list.h \
	src/plan_match.c src/plan_match.h \
	src/plan_output.c \
	src/plan_print.c src/plan_print.h \
	src/plan_regions.c \
	src/plan_tensor.c \
	src/plan_terms.c \
	src/probe.c src/probe.h \
	src/products.c src/products.h \
	src/progress.c src/progress.h \
	src/recipe.h \
	src/recipe_chat.c \
	src/recipe_check.c \
	src/recipe_file.c src/recipe_file.h \
	src/recipe_models.c \
	src/recipe_print.c \
	src/recipe_reader.c src/recipe_reader.h \
	src/recipe_set.c \
	src/recipe_slices.c \
	src/recipe_tell.c src/recipe_tell.h \
	src/recipe_top.c \
	src/recipe_values.c \
	src/record.c src/record.h \
	src/recorded.c src/recorded.h \
	src/report.c src/report.h \
	src/results.c src/results.h \
	src/run.c src/run.h \
	src/series.c src/series.h \
	src/side_files.c \
	src/signals.c src/signals.h \
	src/sources.c \
	src/sphere.c src/sphere.h \
	src/staging.c src/staging.h \
	src/strips.c src/strips.h \
	src/table.c src/table.h \
	src/task.c src/task.h \
	src/thin.c src/thin.h \
	src/trim.c src/trim.h \
	src/trim_model.c src/trim_model.h \
	src/unit.c src/unit.h \
	src/unlisted.c src/unlisted.h \
	src/varied.c src/varied.h \
	src/verify.c \
	src/verify_base.c src/verify_base.h \
	src/verify_vector.c src/verify_vector.h \
	src/vocabulary.c src/vocabulary.h \
	src/work.c src/work.h \
	src/workers.c \
	src/yaml.c src/yaml.h \
	src/yaml_builder.c src/yaml_builder.h \
	src/yaml_scalar.c \
	$(NULL)

bin_PROGRAMS += taumerge
taumerge_SOURCES = src/main.c
taumerge_LDADD = libtaumerge.a libio.a libkernels.a $(SRC_LIBS) $(IO_LIBS)
