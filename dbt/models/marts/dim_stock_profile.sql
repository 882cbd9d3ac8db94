with

profiles as (

    select * from {{ ref('stg_company_profile') }}

),

instruments as (

    select * from {{ ref('dim_instrument') }}

),

current_instruments as (

    select * from instruments
    where is_current

),

-- The newest fetch of the provider that also names the instrument counts; another one only where there is none of it.
ranked_profiles as (

    select
        profiles.*,
        current_instruments.instrument_key,
        row_number() over (
            partition by profiles.instrument_id
            order by
                case when profiles.provider = current_instruments.attribute_source then 0 else 1 end asc,
                profiles.known_at desc,
                profiles.provider asc
        ) as backward_number
    from profiles
    inner join current_instruments
        on profiles.instrument_id = current_instruments.instrument_id

),

newest_profiles as (

    select
        instrument_id,
        instrument_key,
        provider,
        known_at as profile_known_at,
        asset_type,
        country,
        cik,
        fiscal_year_end,
        latest_quarter_date,
        market_capitalization,
        ebitda,
        pe_ratio,
        peg_ratio,
        book_value_per_share,
        dividend_per_share,
        dividend_yield_ratio,
        eps_diluted_ttm,
        revenue_ttm,
        profit_margin_ratio,
        beta,
        shares_outstanding,
        dividend_date,
        ex_dividend_date
    from ranked_profiles
    where backward_number = 1

)

select * from newest_profiles
