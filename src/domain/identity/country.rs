//! Owns the countries whose national phone number formats are recognized.

/// The country whose national phone number formats are recognized: an ISO 3166-1 code of two letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Country {
    name: &'static str,
    has_code_7: bool,
}

/// The codes, in order. `XK` is Kosovo's: users of the standard assigned it.
const CODES: &str = "\
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ \
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO \
    FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE \
    JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO \
    MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW \
    PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM \
    TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW";

impl Country {
    /// Russia: code 7, trunk prefix 8, international prefix 8~10.
    pub const RU: Self = Self { name: "RU", has_code_7: true };
    /// Kazakhstan: the same numbering plan.
    pub const KZ: Self = Self { name: "KZ", has_code_7: true };

    /// The country with this code, in either case; `None` if there is none.
    pub fn parse(code: &str) -> Option<Self> {
        let name = CODES.split(' ').find(|known| known.eq_ignore_ascii_case(code))?;
        Some(Self { name, has_code_7: matches!(name, "RU" | "KZ") })
    }

    /// The code.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Whether its numbers have the country code 7.
    pub(super) const fn has_code_7(self) -> bool {
        self.has_code_7
    }
}

impl Default for Country {
    fn default() -> Self {
        Self::RU
    }
}
