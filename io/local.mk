# How bytes come and go. Knows nothing of commands or methods.
noinst_LIBRARIES += libio.a
libio_a_SOURCES = \
	io/checked.h \
	io/arena.c io/arena.h \
	io/checkpoint.c io/checkpoint.h io/checkpoint_find.c \
	io/chunk.c io/chunk.h \
	io/confine.c io/confine.h \
	io/crash.c io/crash.h \
	io/crash_log.c io/crash_log.h \
	io/crash_names.c io/crash_parts.h \
	io/digest.c io/digest.h \
	io/engine.h \
	io/fault.c io/fault.h \
	io/fault_spec.c io/fault_spec.h \
	io/file.c io/file.h \
	io/index.c io/index.h \
	io/infile.c io/infile.h \
	io/journal.c io/journal.h \
	io/json.c io/json.h \
	io/message.c io/message.h \
	io/outfile.c io/outfile.h \
	io/pack.c io/pack.h \
	io/path.c io/path.h \
	io/safetensors.c io/safetensors.h \
	io/scan.c io/scan.h \
	io/syscall.c \
	io/text.c io/text.h \
	io/threads.c \
	io/transfer.c io/transfer.h \
	io/vector.c io/vector.h io/vector_parts.h \
	io/vector_index.c io/vector_manifest.c \
	$(NULL)
if HAVE_LIBURING
libio_a_SOURCES += io/uring.c
endif
