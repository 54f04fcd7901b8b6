"""Starting, joining and ending processes, and the queue of work that several of them do."""
