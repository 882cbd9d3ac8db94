"""A stand-in for the providers' APIs over one fictional, seeded market, or over recorded payloads.

    listing      the market's members, read from the seed files of the fictional universe
    sessions     trading sessions and the instants at which they close
    script       what happens to whom and when: the planted events
    noise        random numbers by place
    prices, companies, identifiers, actions   the members' daily bars, fundamentals, numbers and actions, seeded
    horizon      weeks, what recurs in them, and every event up to the end of a year
    daily, oddities   daily bars as each provider knows them, and where it is wrong
    roster, roster_*   the rest of the market: lives, names, prices, actions, odd rows
    reference, whole_market   the members beside the roster: tickers, sessions
    market       all of it as of a clock
    provider     what every provider is: a name, limits, an answer to a call
    alpha_vantage, fmp, polygon   one provider's words, keys, plans; its shapes are in *_bodies, queries in *_query
    quota, faults, recorded   what they share: limits, misbehaviour, captured bodies
    state, wire, app   settings and counters, an answer as bytes on a connection, the HTTP application and its controls

The pipeline and this package never import each other: both are written from the providers' formats, so that neither
tests itself.
"""
