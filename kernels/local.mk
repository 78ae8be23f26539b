# What is done to numbers. Knows nothing of files.
noinst_LIBRARIES += libkernels.a
libkernels_a_SOURCES = \
	kernels/cpu.c kernels/cpu.h \
	kernels/dtype.c kernels/dtype.h \
	kernels/sum.c kernels/sum.h \
	kernels/sum_avx2.c kernels/sum_avx512.c \
	kernels/sum_exact.c kernels/sum_kernels.h \
	kernels/sum_neon.c kernels/sum_portable.c kernels/sum_template.h \
	kernels/vec_avx2.h kernels/vec_avx512.h kernels/vec_convert.h \
	kernels/vec_neon.h kernels/vec_portable.h \
	$(NULL)
