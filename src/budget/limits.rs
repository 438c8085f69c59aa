//! The limits of each CA, as a table by directory.

use time::Duration;

use super::Limit;

/// So many at once, and as many again while this time goes by, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    burst: u32,
    per: Duration,
}

impl Rate {
    const fn new(burst: u32, per: Duration) -> Self {
        Self { burst, per }
    }

    /// How long one takes to come back.
    pub fn interval(self) -> Duration {
        self.per / self.burst
    }

    /// How long all take to come back.
    pub fn whole(self) -> Duration {
        self.interval() * self.burst
    }
}

/// The limits of one CA; nothing where it has none, or none that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// New orders of an account.
    pub orders: Option<Rate>,
    /// Failed validations of a name.
    pub failures: Option<Rate>,
    /// Failed validations of a name without a success in between.
    pub failures_in_a_row: Option<Rate>,
    /// Certificates of a registered domain.
    pub domain: Option<Rate>,
    /// Certificates for exactly the same names.
    pub set: Option<Rate>,
}

const HOUR: Duration = Duration::HOUR;
const HOURS_3: Duration = Duration::hours(3);
const WEEK: Duration = Duration::WEEK;

/// As published at <https://letsencrypt.org/docs/rate-limits/>.
const LETS_ENCRYPT: Limits = Limits {
    orders: Some(Rate::new(300, HOURS_3)),
    failures: Some(Rate::new(5, HOUR)),
    failures_in_a_row: Some(Rate::new(1_152, Duration::days(1_152))),
    domain: Some(Rate::new(50, WEEK)),
    set: Some(Rate::new(5, WEEK)),
};

/// As published at <https://letsencrypt.org/docs/staging-environment/>.
const LETS_ENCRYPT_STAGING: Limits = Limits {
    orders: Some(Rate::new(1_500, HOURS_3)),
    failures: Some(Rate::new(200, HOUR)),
    failures_in_a_row: Some(Rate::new(3_600, Duration::days(600))),
    domain: Some(Rate::new(30_000, WEEK)),
    set: Some(Rate::new(30_000, WEEK)),
};

/// Public CAs that publish no such limits. They count certificates by contract, if at all; loops they bear no more than others do.
const PUBLIC: Limits = Limits {
    domain: None,
    set: None,
    ..LETS_ENCRYPT
};

/// Anybody's own CA: only a loop is stopped, and only one that nobody would want.
const PRIVATE: Limits = Limits {
    orders: Some(Rate::new(3_000, HOURS_3)),
    failures: Some(Rate::new(60, HOUR)),
    failures_in_a_row: None,
    domain: None,
    set: None,
};

/// By the directory's host.
const TABLE: [(&str, Limits); 7] = [
    ("acme-v02.api.letsencrypt.org", LETS_ENCRYPT),
    ("acme-staging-v02.api.letsencrypt.org", LETS_ENCRYPT_STAGING),
    ("acme.zerossl.com", PUBLIC),
    ("dv.acme-v02.api.pki.goog", PUBLIC),
    ("dv.acme-v02.test-api.pki.goog", PUBLIC),
    ("acme.ssl.com", PUBLIC),
    ("acme-api.actalis.com", PUBLIC),
];

impl Limits {
    /// The limits of the CA with this directory; generous ones where it is not known.
    pub fn of(directory_url: &str) -> Self {
        let host = directory_url
            .split_once("://")
            .map_or(directory_url, |(_, rest)| rest)
            .split(['/', ':', '?'])
            .next()
            .unwrap_or_default();
        let known = TABLE.iter().find(|(of, _)| of.eq_ignore_ascii_case(host));
        known.map_or(PRIVATE, |(_, limits)| *limits)
    }

    pub(super) fn rate(&self, limit: Limit) -> Option<Rate> {
        match limit {
            Limit::Orders => self.orders,
            Limit::Failures => self.failures,
            Limit::FailuresInARow => self.failures_in_a_row,
            Limit::Domain => self.domain,
            Limit::Set => self.set,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_ca_has_its_published_limits_and_any_other_generous_ones() {
        let production = Limits::of("https://acme-v02.api.letsencrypt.org/directory");
        assert_eq!(production, LETS_ENCRYPT);
        for (rate, minutes) in [
            (production.failures, 12.0),
            (production.orders, 0.6),
            (production.domain, 201.6),
            (production.set, 2_016.0),
            (production.failures_in_a_row, 1_440.0),
        ] {
            let interval = rate.unwrap().interval().as_seconds_f64() / 60.0;
            assert!((interval - minutes).abs() < 0.01, "{interval}");
        }
        assert_eq!(Limits::of("https://acme.zerossl.com/v2/DV90"), PUBLIC);
        for own in [
            "https://localhost:14000/dir",
            "https://acme.ssl.com.example/",
        ] {
            assert_eq!(Limits::of(own), PRIVATE);
        }
    }
}
