"""Views of a method drawn: attention, masks, similarity; sheets, films and the interactive page."""
