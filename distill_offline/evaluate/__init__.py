"""evaluate: students, teachers and labelled files are scored on gold."""
