# What the program does. All but main.c is a library, for the fuzzers.
noinst_LIBRARIES += libtaumerge.a
libtaumerge_a_SOURCES = \
	src/apply.c \
	src/argument.c src/argument.h \
	src/bind_base.c src/bind_base.h \
	src/budget.c src/budget.h \
	src/check.c src/check.h \
	src/codings.c src/codings.h \
	src/commands.c src/commands.h \
	src/compute.c \
	src/config_file.c src/config_file.h \
	src/confinement.c src/confinement.h \
	src/cpus.c src/cpus.h \
	src/diff.c \
	src/digests.c src/digests.h \
	src/encode.c \
	src/given.c src/given.h \
	src/group.c src/group.h \
	src/hash.c \
	src/head.c src/head.h \
	src/inputs.c src/inputs.h \
	src/inspect.c \
	src/inspect_vector.c src/inspect_vector.h \
	src/keeper.c src/keeper.h \
	src/kept.c src/kept.h \
	src/layers.c src/layers.h \
	src/made.c src/made.h \
	src/made_append.c \
	src/made_manifest.c src/made_manifest.h \
	src/manifest.c src/manifest.h \
	src/mark.c src/mark.h \
	src/mark_take.c \
	src/merge.c \
	src/method.h \
	src/methods_command.c \
	src/nearest.c src/nearest.h \
	src/options.c src/options.h \
	src/pipeline.h \
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
	src/record.c src/record.h \
	src/recorded.c src/recorded.h \
	src/report.c src/report.h \
	src/results.c src/results.h \
	src/resume.c src/resume.h \
	src/run.c src/run.h \
	src/series.c src/series.h \
	src/shard_files.c src/shard_files.h \
	src/side_files.c \
	src/signals.c src/signals.h \
	src/sources.c \
	src/staging.c src/staging.h src/staging_parts.h \
	src/staging_check.c \
	src/staging_publish.c \
	src/staging_remove.c \
	src/strips.c src/strips.h \
	src/table.c src/table.h \
	src/task.c src/task.h \
	src/unit.c src/unit.h \
	src/unlisted.c src/unlisted.h \
	src/verify.c src/verify.h \
	src/verify_base.c src/verify_base.h \
	src/verify_kept.c src/verify_kept.h \
	src/verify_vector.c src/verify_vector.h \
	src/vocabulary.c src/vocabulary.h \
	src/work.c src/work.h \
	src/workers.c \
	src/methods/arc.c src/methods/arc.h \
	src/methods/arcee_fusion.c \
	src/methods/band.c src/methods/band.h \
	src/methods/blend.c src/methods/blend.h \
	src/methods/breadcrumbs.c \
	src/methods/columns.c src/methods/columns.h \
	src/methods/consensus.c \
	src/methods/dare.c \
	src/methods/della.c \
	src/methods/dither.c src/methods/dither.h \
	src/methods/emr.c \
	src/methods/gram.c src/methods/gram.h \
	src/methods/karcher.c \
	src/methods/linear.c \
	src/methods/lines.c \
	src/methods/metagpt.c \
	src/methods/methods.c src/methods/methods.h \
	src/methods/model_stock.c \
	src/methods/multislerp.c \
	src/methods/nearswap.c \
	src/methods/nuslerp.c \
	src/methods/pivot.c src/methods/pivot.h \
	src/methods/ram.c \
	src/methods/sce.c \
	src/methods/slerp.c \
	src/methods/sphere.c src/methods/sphere.h \
	src/methods/task_arithmetic.c \
	src/methods/thin.c src/methods/thin.h \
	src/methods/ties.c \
	src/methods/trim.c src/methods/trim.h \
	src/methods/trim_model.c src/methods/trim_model.h \
	src/methods/varied.c src/methods/varied.h \
	src/recipe/evaluate.c src/recipe/evaluate.h \
	src/recipe/hub.c src/recipe/hub.h \
	src/recipe/names.c src/recipe/names.h \
	src/recipe/parameter.c src/recipe/parameter.h \
	src/recipe/place.c src/recipe/place.h \
	src/recipe/recipe_chat.c \
	src/recipe/recipe_check.c \
	src/recipe/recipe_file.c src/recipe/recipe_file.h \
	src/recipe/recipe_models.c \
	src/recipe/recipe_print.c \
	src/recipe/recipe_reader.c src/recipe/recipe_reader.h \
	src/recipe/recipe_set.c \
	src/recipe/recipe_slices.c \
	src/recipe/recipe_tell.c src/recipe/recipe_tell.h \
	src/recipe/recipe_top.c \
	src/recipe/recipe_values.c \
	src/recipe/yaml.c src/recipe/yaml.h \
	src/recipe/yaml_builder.c src/recipe/yaml_builder.h \
	src/recipe/yaml_scalar.c \
	$(NULL)

bin_PROGRAMS += taumerge
taumerge_SOURCES = src/main.c
taumerge_LDADD = libtaumerge.a libio.a libkernels.a $(SRC_LIBS) $(IO_LIBS)
