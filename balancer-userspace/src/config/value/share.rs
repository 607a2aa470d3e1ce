//! Shares and rates.

use balancer_control::Percent;

use super::Text;

/// A share in whole per cent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(pub Percent);

impl Text for Share {
    const FORMAT: &'static str = "per cent";
    const EXAMPLE: &'static str = "50%";

    fn read(text: &str) -> Result<Self, String> {
        percent(text)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a share; write a whole number from \"1%\" to \"100%\""))
    }
}

/// A share in whole per cent, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareOrOff(pub Option<Percent>);

impl Text for ShareOrOff {
    const FORMAT: &'static str = "per cent, or off";
    const EXAMPLE: &'static str = "50%";

    fn read(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        percent(text).map(|share| Self(Some(share))).ok_or_else(|| {
            format!("{text:?} is not a share; write a whole number from \"1%\" to \"100%\", or \"off\"")
        })
    }
}

fn percent(text: &str) -> Option<Percent> {
    let number: u8 = text.strip_suffix('%')?.trim_end().parse().ok()?;
    (1..=100).contains(&number).then(|| Percent::new(number))
}

/// Connections per second, or no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateOrOff(pub Option<u32>);

impl Text for RateOrOff {
    const FORMAT: &'static str = "connections per second, or off";
    const EXAMPLE: &'static str = "50/s";

    fn read(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let number = text.strip_suffix("/s").and_then(|number| number.trim_end().parse().ok());
        number.filter(|number| (1..=1_000_000).contains(number)).map(|number| Self(Some(number))).ok_or_else(
            || {
                format!(
                    "{text:?} is not a rate; write connections per second from \"1/s\" to \"1000000/s\", or \"off\""
                )
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_whole_per_cent() {
        assert_eq!(Share::read("34%").unwrap().0.get(), 34);
        assert_eq!(Share::read("100 %").unwrap().0.get(), 100);
        for bad in ["0%", "101%", "50", "0.5", "-1%", "5.5%", "off", "%", ""] {
            let error = Share::read(bad).unwrap_err();
            assert!(error.contains(&format!("{bad:?}")) && error.contains("\"1%\""), "{error}");
        }
        assert_eq!(ShareOrOff::read("off").unwrap().0, None);
        assert!(ShareOrOff::read("none").unwrap_err().contains("\"off\""));
    }

    #[test]
    fn rates_are_per_second() {
        assert_eq!(RateOrOff::read("50/s").unwrap().0, Some(50));
        assert_eq!(RateOrOff::read("off").unwrap().0, None);
        for bad in ["50", "0/s", "50/m", "-1/s", "2000000/s", ""] {
            assert!(RateOrOff::read(bad).unwrap_err().contains("\"1/s\""), "{bad}");
        }
    }
}
