"""scheduling: the parts of saccade.runtime.scheduler, one noun a file.

policy    what the user may choose, and the rank that orders everything
answer    the future a caller holds
request   a submitted pipeline, and what it waits for: tickets, joins, chores
line      a queue in order of rank
times     measured run times, and the batch size that follows from them
merge     several calls as one engine run, and its outputs apart again
lane      what waits for one graph, in groups that may merge
flights   calls with equal keys that share one run
streams   latest-wins mailboxes
foresight how long a pipeline will still take
journal   how every request ended
board     all of that under one lock
crew      threads that wait for work
steps     advances pipelines until they wait
faults    what follows from bad outputs and from a lack of memory
runs      puts a batch through its engine
driver    begins and ends requests, does the board's jobs
"""
