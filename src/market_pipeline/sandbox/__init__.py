"""A stand-in for the providers' APIs over one fictional, seeded market, or over recorded payloads.

    listing      the market's members, read from the seed files of the fictional universe
    sessions     trading sessions and the instants at which they close
    script       what happens to whom and when: the planted events
    prices       daily bars, seeded
    companies    fundamentals, seeded
    horizon      weeks, what recurs in them, and every event up to the end of a year
    market       all of it as of a clock: weekly bars, profiles, events
    alpha_vantage, quota, faults, recorded   one provider's wire format, limits, misbehaviour, captured bodies
    wire         an answer as bytes on a connection, whole or broken
    app          the HTTP application and its controls

The pipeline and this package never import each other: both are written from the providers' formats, so that neither
tests itself.
"""
