"""A server that is killed again and again under clients that never wait for it, and the books of all of them compared.

`python -m tools.ledger --kills 60 --seed 1` starts one, plays phones, carriers' hooks, programs at the HTTP APIs, ESMEs
and a carrier around it, and holds afterwards what each of them heard and got against the store. Nothing here imports
sipsms: the clients parse and sign on their own, so that a mistake there cannot hide behind the same mistake here.
"""
