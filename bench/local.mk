# Programs that print tables; see bench/README.md. Built by `make bench`.
EXTRA_PROGRAMS += bench/kernels
EXTRA_DIST += bench/README.md bench/common.py bench/fio.py bench/merge.py \
	bench/models.py bench/peers.py
bench_kernels_SOURCES = bench/kernels.c
bench_kernels_LDADD = libkernels.a -lm
