# Unit tests are programs (cmocka); tests/ as a whole is run by pytest, which
# runs them too. `make check` builds them and runs everything.
UNIT_LIBS = libio.a libkernels.a $(CMOCKA_LIBS) $(IO_LIBS)
unit_tests =

if HAVE_CMOCKA
unit_tests += tests/unit/test_sum tests/unit/test_drift \
	tests/unit/test_confine tests/unit/test_crash \
	tests/unit/test_mark tests/unit/test_pack \
	tests/unit/test_engine \
	tests/unit/test_json tests/unit/test_unit tests/unit/test_unit_coded \
	tests/unit/test_methods tests/unit/test_recipe tests/unit/test_layers \
	tests/unit/test_strip tests/unit/test_select tests/unit/test_mask tests/unit/test_row \
	tests/unit/test_vector tests/unit/test_vector_files \
	tests/unit/test_planes tests/unit/test_rans tests/unit/test_chunk \
	tests/unit/test_journal
tests_unit_test_journal_SOURCES = tests/unit/test_journal.c tests/unit/unit.h
tests_unit_test_journal_LDADD = $(UNIT_LIBS)
tests_unit_test_sum_SOURCES = tests/unit/test_sum.c \
	tests/unit/sum_reference.h tests/unit/unit.h
tests_unit_test_sum_LDADD = $(UNIT_LIBS)
tests_unit_test_drift_SOURCES = tests/unit/test_drift.c \
	tests/unit/sum_reference.h tests/unit/unit.h
tests_unit_test_drift_LDADD = $(UNIT_LIBS)
tests_unit_test_confine_SOURCES = tests/unit/test_confine.c
tests_unit_test_confine_LDADD = $(UNIT_LIBS)
tests_unit_test_crash_SOURCES = tests/unit/test_crash.c
tests_unit_test_crash_LDADD = $(UNIT_LIBS)
tests_unit_test_mark_SOURCES = tests/unit/test_mark.c \
	tests/unit/unit_sample.h tests/unit/unit.h
tests_unit_test_mark_LDADD = libtaumerge.a $(SRC_LIBS) $(UNIT_LIBS)
tests_unit_test_pack_SOURCES = tests/unit/test_pack.c tests/unit/unit.h
tests_unit_test_pack_LDADD = $(UNIT_LIBS)
tests_unit_test_engine_SOURCES = tests/unit/test_engine.c
tests_unit_test_engine_LDADD = $(UNIT_LIBS)
tests_unit_test_json_SOURCES = tests/unit/test_json.c tests/unit/unit.h
tests_unit_test_json_LDADD = $(UNIT_LIBS)
tests_unit_test_planes_SOURCES = tests/unit/test_planes.c \
	tests/unit/planes_reference.h tests/unit/unit.h
tests_unit_test_planes_LDADD = $(UNIT_LIBS)
tests_unit_test_rans_SOURCES = tests/unit/test_rans.c \
	tests/unit/rans_reference.h tests/unit/unit.h
tests_unit_test_rans_LDADD = $(UNIT_LIBS)
tests_unit_test_chunk_SOURCES = tests/unit/test_chunk.c \
	tests/unit/planes_reference.h tests/unit/unit.h
tests_unit_test_chunk_LDADD = $(UNIT_LIBS)
tests_unit_test_unit_SOURCES = tests/unit/test_unit.c \
	tests/unit/unit_sample.h tests/unit/unit.h
tests_unit_test_unit_LDADD = libtaumerge.a $(SRC_LIBS) $(UNIT_LIBS)
tests_unit_test_unit_coded_SOURCES = tests/unit/test_unit_coded.c \
	tests/unit/unit_sample.h tests/unit/unit.h
tests_unit_test_unit_coded_LDADD = libtaumerge.a $(SRC_LIBS) $(UNIT_LIBS)
tests_unit_test_select_SOURCES = tests/unit/test_select.c tests/unit/unit.h
tests_unit_test_select_LDADD = $(UNIT_LIBS)
tests_unit_test_mask_SOURCES = tests/unit/test_mask.c tests/unit/unit.h
tests_unit_test_mask_LDADD = $(UNIT_LIBS)
tests_unit_test_row_SOURCES = tests/unit/test_row.c tests/unit/unit.h
tests_unit_test_row_LDADD = $(UNIT_LIBS)
tests_unit_test_strip_SOURCES = tests/unit/test_strip.c \
	tests/unit/sum_reference.h tests/unit/unit.h
tests_unit_test_strip_LDADD = $(UNIT_LIBS)
tests_unit_test_methods_SOURCES = tests/unit/test_methods.c \
	tests/unit/method_driver.h tests/unit/method_reference.h \
	tests/unit/unit.h
tests_unit_test_methods_LDADD = libtaumerge.a $(SRC_LIBS) $(UNIT_LIBS)
tests_unit_test_recipe_SOURCES = tests/unit/test_recipe.c tests/unit/unit.h
tests_unit_test_recipe_LDADD = libtaumerge.a $(SRC_LIBS) $(UNIT_LIBS)
tests_unit_test_layers_SOURCES = tests/unit/test_layers.c tests/unit/unit.h
tests_unit_test_layers_LDADD = libtaumerge.a $(SRC_LIBS) $(UNIT_LIBS)
tests_unit_test_vector_SOURCES = tests/unit/test_vector.c tests/unit/unit.h
tests_unit_test_vector_LDADD = $(UNIT_LIBS)
tests_unit_test_vector_files_SOURCES = tests/unit/test_vector_files.c \
	tests/unit/unit.h
tests_unit_test_vector_files_LDADD = $(UNIT_LIBS)
endif

check_PROGRAMS += $(unit_tests)

EXTRA_DIST += tests/bad tests/data tests/requirements.txt \
	tests/checkpoints.py tests/conftest.py tests/program.py \
	tests/golden tests/golden_check.py tests/llama.py \
	tests/reference.py tests/test_bad.py tests/test_bad_recipes.py \
	tests/test_cli.py tests/test_confine.py tests/test_odd_models.py \
	tests/flipping.py tests/oracle.py tests/test_flips.py \
	tests/test_examples.py tests/test_faults.py tests/test_fuzz.py \
	tests/test_golden.py tests/test_kills.py tests/test_layout.py \
	tests/test_hostile.py tests/test_power.py tests/test_real_faults.py \
	tests/test_merge.py tests/test_methods.py tests/test_methods_doc.py \
	tests/test_recipe_cli.py tests/test_recipe_faults.py \
	tests/test_series.py tests/test_slices.py \
	tests/test_reference.py tests/test_same_bytes.py \
	tests/test_source.py tests/test_straddle.py tests/test_torture.py tests/test_unit.py \
	tests/test_vector.py tests/test_vector_base.py \
	tests/test_vector_cli.py tests/test_vector_damage.py \
	tests/test_vector_faults.py tests/test_vector_look.py \
	tests/test_vector_merge.py \
	tests/vector_decoder.py tests/vectors.py

# Runs commands with bits of their input flipped: tests/test_flips.py.
check_PROGRAMS += tests/flip_bits
tests_flip_bits_SOURCES = tests/flip_bits.c
tests_flip_bits_LDADD = libtaumerge.a $(SRC_LIBS) libio.a libkernels.a \
	$(IO_LIBS)

# Preloaded into the program by tests/test_torture.py. No part of the program,
# so without sanitizers also where it has them.
tests/unit/failalloc.so: tests/unit/failalloc.c
	@$(MKDIR_P) tests/unit
	$(AM_V_CCLD)$(CC) $(CPPFLAGS) $(CFLAGS) -Wall -Wextra -shared -fPIC \
		-o $@ $(srcdir)/tests/unit/failalloc.c -ldl
CLEANFILES += tests/unit/failalloc.so
EXTRA_DIST += tests/unit/failalloc.c

include tests/fuzz/local.mk
