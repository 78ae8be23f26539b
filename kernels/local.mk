# What is done to numbers. Knows nothing of files.
noinst_LIBRARIES += libkernels.a
libkernels_a_SOURCES = \
	kernels/angle.c kernels/angle.h \
	kernels/chance.c kernels/chance.h kernels/chance_avx2.c \
	kernels/chance_avx512.c kernels/chance_kernels.h \
	kernels/chance_neon.c kernels/chance_portable.c \
	kernels/chance_template.h \
	kernels/cpu.c kernels/cpu.h \
	kernels/drift.c kernels/drift.h \
	kernels/drift_avx2.c kernels/drift_avx512.c \
	kernels/drift_count.c kernels/drift_count.h \
	kernels/drift_kernels.h kernels/drift_neon.c kernels/drift_pick.h \
	kernels/drift_portable.c kernels/drift_template.h \
	kernels/dtype.c kernels/dtype.h \
	kernels/mask.c kernels/mask.h kernels/mask_avx2.c kernels/mask_avx512.c \
	kernels/mask_kernels.h kernels/mask_neon.c kernels/mask_portable.c \
	kernels/mask_template.h \
	kernels/planes.c kernels/planes.h kernels/planes_template.h \
	kernels/rans.c kernels/rans.h kernels/rans_avx2.c \
	kernels/rans_avx512.c kernels/rans_choice.c kernels/rans_choice.h \
	kernels/rans_kernels.h kernels/rans_neon.c kernels/rans_portable.c \
	kernels/rans_shuffles.c kernels/rans_shuffles.h \
	kernels/rans_tables.c kernels/rans_tables.h kernels/rans_template.h \
	kernels/row.c kernels/row.h kernels/row_avx2.c kernels/row_avx512.c \
	kernels/row_kernels.h kernels/row_neon.c kernels/row_portable.c \
	kernels/row_template.h \
	kernels/select.c kernels/select.h \
	kernels/select_avx2.c kernels/select_avx512.c \
	kernels/select_kernels.h kernels/select_neon.c \
	kernels/select_portable.c kernels/select_template.h \
	kernels/strip.c kernels/strip.h kernels/strip_avx2.c \
	kernels/strip_avx512.c kernels/strip_kernels.h kernels/strip_neon.c \
	kernels/strip_portable.c kernels/strip_template.h \
	kernels/sum.c kernels/sum.h \
	kernels/sum_avx2.c kernels/sum_avx512.c \
	kernels/sum_exact.c kernels/sum_kernels.h \
	kernels/sum_neon.c kernels/sum_portable.c kernels/sum_template.h \
	kernels/vec_avx2.h kernels/vec_avx512.h kernels/vec_convert.h \
	kernels/vec_neon.h kernels/vec_portable.h \
	$(NULL)
