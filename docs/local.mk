# Manual page and documents.
dist_man_MANS += docs/taumerge.1
EXTRA_DIST += docs/numerics.md docs/performance.md
