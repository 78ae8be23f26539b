# Programs that print tables; see bench/README.md. Built by `make bench`.
EXTRA_PROGRAMS += bench/codec bench/kernels
EXTRA_DIST += bench/README.md bench/codec.py bench/common.py bench/exact.py \
	bench/faults.py bench/fio.py bench/flips.py bench/fuzz.py bench/merge.py bench/methods.py bench/models.py \
	bench/peers.py bench/recipes.py bench/reliability.py bench/vector.py
bench_codec_SOURCES = bench/codec.c \
	bench/codec_kinds.c bench/codec_kinds.h \
	bench/codec_pair.c bench/codec_pair.h \
	bench/codec_sizes.c bench/codec_sizes.h
bench_codec_LDADD = libio.a libkernels.a $(IO_LIBS)
bench_kernels_SOURCES = bench/kernels.c
bench_kernels_LDADD = libkernels.a -lm
