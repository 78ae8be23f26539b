# Programs that print tables; see bench/README.md. Built by `make bench`.
EXTRA_PROGRAMS += bench/kernels
bench_kernels_SOURCES = bench/kernels.c
bench_kernels_LDADD = libkernels.a -lm
