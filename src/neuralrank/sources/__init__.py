"""Model sources, one file each: they list records and bring files."""
