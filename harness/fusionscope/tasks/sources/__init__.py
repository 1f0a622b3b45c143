"""Where tasks come from: files, tables, archives, images."""
