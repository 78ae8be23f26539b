# Fuzzing. Every harness is linked twice: with replay.c, an ordinary program
# that runs it over the corpus (tests/test_fuzz.py does), and, in a build of
#
#     ./configure CC=clang --enable-fuzzers \
#         --enable-sanitizers=address,undefined
#     make check-programs
#
# with libFuzzer. To search for three minutes, keeping what is found in /tmp:
#
#     mkdir /tmp/found
#     tests/fuzz/fuzz_header -max_total_time=180 \
#         -dict=tests/fuzz/json.dict /tmp/found tests/fuzz/corpus/header
FUZZ_LIBS = libtaumerge.a libio.a libkernels.a $(SRC_LIBS) $(IO_LIBS)

check_PROGRAMS += tests/fuzz/replay_header tests/fuzz/replay_index \
	tests/fuzz/replay_command_line tests/fuzz/replay_chunk \
	tests/fuzz/replay_manifest tests/fuzz/replay_vector_index \
	tests/fuzz/replay_rans tests/fuzz/replay_recipe \
	tests/fuzz/replay_journal tests/fuzz/replay_container
tests_fuzz_replay_container_SOURCES = tests/fuzz/replay.c \
	tests/fuzz/fuzz_container.c tests/fuzz/fuzz.h
tests_fuzz_replay_container_LDADD = $(FUZZ_LIBS)
tests_fuzz_replay_journal_SOURCES = tests/fuzz/replay.c \
	tests/fuzz/fuzz_journal.c tests/fuzz/fuzz.h
tests_fuzz_replay_journal_LDADD = $(FUZZ_LIBS)
tests_fuzz_replay_recipe_SOURCES = tests/fuzz/replay.c \
	tests/fuzz/fuzz_recipe.c tests/fuzz/fuzz.h
tests_fuzz_replay_recipe_LDADD = $(FUZZ_LIBS)
tests_fuzz_replay_header_SOURCES = tests/fuzz/replay.c \
	tests/fuzz/fuzz_header.c tests/fuzz/fuzz.h
tests_fuzz_replay_header_LDADD = $(FUZZ_LIBS)
tests_fuzz_replay_index_SOURCES = tests/fuzz/replay.c \
	tests/fuzz/fuzz_index.c tests/fuzz/fuzz.h
tests_fuzz_replay_index_LDADD = $(FUZZ_LIBS)
tests_fuzz_replay_command_line_SOURCES = tests/fuzz/replay.c \
	tests/fuzz/fuzz_command_line.c tests/fuzz/fuzz.h
tests_fuzz_replay_command_line_LDADD = $(FUZZ_LIBS)
tests_fuzz_replay_chunk_SOURCES = tests/fuzz/replay.c \
	tests/fuzz/fuzz_chunk.c tests/fuzz/fuzz.h
tests_fuzz_replay_chunk_LDADD = $(FUZZ_LIBS)
tests_fuzz_replay_manifest_SOURCES = tests/fuzz/replay.c \
	tests/fuzz/fuzz_manifest.c tests/fuzz/fuzz.h
tests_fuzz_replay_manifest_LDADD = $(FUZZ_LIBS)
tests_fuzz_replay_vector_index_SOURCES = tests/fuzz/replay.c \
	tests/fuzz/fuzz_vector_index.c tests/fuzz/fuzz.h
tests_fuzz_replay_vector_index_LDADD = $(FUZZ_LIBS)
tests_fuzz_replay_rans_SOURCES = tests/fuzz/replay.c \
	tests/fuzz/fuzz_rans.c tests/fuzz/fuzz.h
tests_fuzz_replay_rans_LDADD = $(FUZZ_LIBS)

if FUZZERS
# All code tells libFuzzer where it went; only the harnesses have its main().
# Checksums that no fuzzer finds are not compared (io/journal.c): such a build
# is for nothing else.
AM_CFLAGS += -g -fsanitize=fuzzer-no-link \
	-DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION=1
FUZZ_LINK = -fsanitize=fuzzer

check_PROGRAMS += tests/fuzz/fuzz_header tests/fuzz/fuzz_index \
	tests/fuzz/fuzz_command_line tests/fuzz/fuzz_chunk \
	tests/fuzz/fuzz_manifest tests/fuzz/fuzz_vector_index \
	tests/fuzz/fuzz_rans tests/fuzz/fuzz_recipe \
	tests/fuzz/fuzz_journal tests/fuzz/fuzz_container
tests_fuzz_fuzz_journal_SOURCES = tests/fuzz/fuzz_journal.c
tests_fuzz_fuzz_journal_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_journal_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_fuzz_recipe_SOURCES = tests/fuzz/fuzz_recipe.c
tests_fuzz_fuzz_recipe_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_recipe_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_fuzz_header_SOURCES = tests/fuzz/fuzz_header.c
tests_fuzz_fuzz_header_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_header_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_fuzz_index_SOURCES = tests/fuzz/fuzz_index.c
tests_fuzz_fuzz_index_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_index_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_fuzz_command_line_SOURCES = tests/fuzz/fuzz_command_line.c
tests_fuzz_fuzz_command_line_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_command_line_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_fuzz_chunk_SOURCES = tests/fuzz/fuzz_chunk.c
tests_fuzz_fuzz_chunk_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_chunk_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_fuzz_manifest_SOURCES = tests/fuzz/fuzz_manifest.c
tests_fuzz_fuzz_manifest_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_manifest_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_fuzz_vector_index_SOURCES = tests/fuzz/fuzz_vector_index.c
tests_fuzz_fuzz_vector_index_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_vector_index_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_fuzz_rans_SOURCES = tests/fuzz/fuzz_rans.c
tests_fuzz_fuzz_rans_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_rans_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_fuzz_container_SOURCES = tests/fuzz/fuzz_container.c
tests_fuzz_fuzz_container_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_container_LDFLAGS = $(FUZZ_LINK)
endif

EXTRA_DIST += tests/fuzz/make_corpus.py tests/fuzz/json.dict \
	tests/fuzz/options.dict tests/fuzz/recipe.dict tests/fuzz/corpus
