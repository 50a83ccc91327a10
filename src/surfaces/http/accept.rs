//! Which of several types a client wants, by its `Accept` header, and whether it takes gzip, by its
//! `Accept-Encoding` (RFC 9110, 12.5.1 and 12.5.3).

/// A type that can be answered with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer {
    /// Such as `text/plain`.
    pub(super) mime: &'static str,
    /// The version that a `version=` of the client must name, where it names one.
    pub(super) version: Option<&'static str>,
}

/// The index of the offer that the client likes best. Between equals the one that it names more
/// exactly wins, then the one that stands first. When it likes none, the first: an answer in an
/// unexpected type helps more than none.
pub(super) fn choose(accept: Option<&str>, offers: &[Offer]) -> usize {
    let Some(accept) = accept else { return 0 };
    let ranges: Vec<Range<'_>> = accept.split(',').filter_map(Range::parse).collect();
    let mut best = (0, 0, 0); // quality, exactness, index
    for (i, offer) in offers.iter().enumerate() {
        // The most exact range that fits decides the quality, also a lower one or none at all.
        let fitting = ranges.iter().filter_map(|r| Some((r.fits(offer)?, r.quality)));
        if let Some((exactness, quality)) = fitting.max()
            && quality > 0
            && (quality, exactness) > (best.0, best.1)
        {
            best = (quality, exactness, i);
        }
    }
    best.2
}

/// Whether a client wants its answer by gzip: it names it, and likes it no less than the plain one.
/// One that says nothing gets the plain one.
pub(super) fn wants_gzip<'a>(lines: impl Iterator<Item = &'a str>) -> bool {
    let (mut gzip, mut plain, mut other) = (None, None, None);
    for coding in lines.flat_map(|line| line.split(',')) {
        let mut parts = coding.split(';').map(str::trim);
        let place = match parts.next().unwrap_or_default() {
            name if name.eq_ignore_ascii_case("gzip") => &mut gzip,
            name if name.eq_ignore_ascii_case("x-gzip") => &mut gzip,
            name if name.eq_ignore_ascii_case("identity") => &mut plain,
            "*" => &mut other,
            _ => continue,
        };
        let q = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then_some(value)
        });
        // What cannot be read is passed over.
        if let Some(q) = q.map_or(Some(1000), |q| quality(q.trim())) {
            *place = Some(q);
        }
    }
    match gzip {
        Some(gzip) => gzip > 0 && gzip >= plain.unwrap_or(0),
        // Any will do, but for the plain one.
        None => plain == Some(0) && other.is_some_and(|q| q > 0),
    }
}

/// Thousandths.
fn quality(text: &str) -> Option<u32> {
    let quality: f32 = text.parse().ok().filter(|q| (0.0..=1.0).contains(q))?;
    Some((quality * 1000.0) as u32)
}

struct Range<'a> {
    mime: &'a str,
    version: Option<&'a str>,
    /// Thousandths.
    quality: u32,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let mut range =
            Self { mime: parts.next().filter(|m| m.contains('/'))?, version: None, quality: 1000 };
        for part in parts {
            let Some((name, value)) = part.split_once('=') else { continue };
            if name.eq_ignore_ascii_case("q") {
                range.quality = quality(value)?;
            } else if name.eq_ignore_ascii_case("version") {
                range.version = Some(value.trim_matches('"'));
            }
        }
        Some(range)
    }

    /// How exactly the range names the offer; `None` when it does not.
    fn fits(&self, offer: &Offer) -> Option<u32> {
        if self.mime == "*/*" {
            return Some(1);
        }
        if let Some(family) = self.mime.strip_suffix("/*") {
            let same = offer.mime.split('/').next()?.eq_ignore_ascii_case(family);
            return same.then_some(2);
        }
        if !self.mime.eq_ignore_ascii_case(offer.mime) {
            return None;
        }
        match (self.version, offer.version) {
            (None, _) => Some(3),
            (Some(wanted), Some(ours)) => (wanted == ours).then_some(4),
            (Some(_), None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: [Offer; 3] = [
        Offer { mime: "application/json", version: None },
        Offer { mime: "text/plain", version: Some("0.0.4") },
        Offer { mime: "application/openmetrics-text", version: Some("1.0.0") },
    ];

    #[test]
    fn each_client_gets_the_type_it_wants() {
        let json = 0;
        let text = 1;
        let open = 2;
        for (accept, wanted) in [
            (None, json),
            (Some("*/*"), json),
            (Some(""), json),
            (Some("application/json"), json),
            (Some("text/plain"), text),
            (Some("text/*"), text),
            (Some("text/plain;version=0.0.4"), text),
            (Some("TEXT/PLAIN; Version=0.0.4;charset=utf-8"), text),
            (Some("text/plain, */*"), text),
            (Some("application/openmetrics-text"), open),
            // Prometheus 3.5, 3.0, 2.53, 2.53 with native histograms, 2.50 and 2.30 as they ask.
            (
                Some(
                    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                     application/openmetrics-text;version=0.0.1;q=0.4,\
                     text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                     text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                ),
                open,
            ),
            (
                Some(
                    "application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.5,\
                     application/openmetrics-text;version=0.0.1;q=0.4,\
                     text/plain;version=1.0.0;escaping=underscores;q=0.3,\
                     text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                ),
                open,
            ),
            (
                Some(
                    "application/openmetrics-text;version=1.0.0;q=0.5,\
                     application/openmetrics-text;version=0.0.1;q=0.4,\
                     text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                ),
                open,
            ),
            (
                Some(
                    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                     encoding=delimited;q=0.6,\
                     application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                     application/openmetrics-text;version=0.0.1;q=0.4,\
                     text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                     text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                ),
                open,
            ),
            (
                Some(
                    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                     encoding=delimited;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                ),
                text,
            ),
            (
                Some(
                    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                     application/openmetrics-text;version=0.0.1;q=0.5,\
                     text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                     text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                ),
                open,
            ),
            (Some("text/plain;version=0.0.4;q=1,*/*;q=0.1"), text),
            (
                Some("application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5"),
                text,
            ),
            // A browser, and a client that wants what there is not.
            (Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), json),
            (Some("image/png"), json),
            (Some("application/json;q=0, text/plain;q=0.1"), text),
            (Some("*/*, application/json;q=0"), text),
            // What cannot be read is passed over.
            (Some("nonsense, text/plain;q=nan, application/openmetrics-text;q=0.1"), open),
            (Some("text/plain;q=7"), json),
        ] {
            assert_eq!(choose(accept, &METRICS), wanted, "{accept:?}");
        }
    }

    #[test]
    fn gzip_goes_to_those_who_ask_for_it() {
        for (lines, wanted) in [
            (&[][..], false),
            (&["gzip"][..], true),
            (&["GZIP"], true),
            (&["x-gzip"], true),
            (&["deflate, gzip, br, zstd"], true),
            (&["deflate", "gzip;q=0.1"], true),
            (&["gzip;q=1.0, identity; q=0.5, *;q=0"], true),
            (&["gzip;q=0"], false),
            (&["gzip; q=0.000, *"], false),
            (&["gzip;q=0.5, identity"], false),
            (&["gzip;q=0.5, identity;q=0.5"], true),
            (&["identity"], false),
            (&["identity;q=0"], false),
            (&["identity;q=0, *"], true),
            (&["identity;q=0, *;q=0"], false),
            (&["*"], false),
            (&["br, zstd"], false),
            (&[""], false),
            (&["gzipped, gzip ;q=nan"], false),
            (&["gzip;Q=0.3"], true),
        ] {
            assert_eq!(wants_gzip(lines.iter().copied()), wanted, "{lines:?}");
        }
    }
}
