# Manual page and documents.
dist_man_MANS += docs/taumerge.1
EXTRA_DIST += docs/format.md docs/methods.md docs/numerics.md \
	docs/performance.md docs/recipes.md docs/reliability.md
