"""Compares docs/examples/calendar-russia.yaml with two other calendars, day by day; see `check`.

Days off and working days: `holidays` covers all three years, `work-calendar` 2025 and 2026. Neither has short days. These
follow from the rule (a working day before a public holiday is an hour shorter; a working weekend day that replaces a
weekday is as long as that weekday would have been) and from the transfers that `holidays` lists.
"""

import sys
from datetime import date, datetime, timedelta

import holidays
import work_calendar
import yaml

DAY = timedelta(days=1)
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# Labour Code, art. 112: month and day.
PUBLIC = {(1, day) for day in range(1, 9)} | {(2, 23), (3, 8), (5, 1), (5, 9), (6, 12), (11, 4)}


def minutes(hours):
    """The working minutes in a list of intervals."""
    total = 0
    for interval in hours:
        start, end = (int(time[:2]) * 60 + int(time[3:]) for time in interval.split("-"))
        total += end - start
    return total


def kind(worked, ordinary):
    return {0: "off", ordinary: "working", ordinary - 60: "short"}.get(worked, f"{worked} minutes")


def is_public(day):
    return (day.month, day.day) in PUBLIC


def instead_of(russia):
    """Working weekend days, with the weekday each replaces; the transfers are in the holidays' names."""
    transfers = {}
    for off, name in russia.items():
        if "substituted from" in name:
            taken = datetime.strptime(name.split("substituted from ")[1].rstrip(")"), "%m/%d/%Y").date()
            if not is_public(taken):
                transfers[taken] = off
    return transfers


def main(path):
    with open(path, encoding="utf-8") as file:
        ours = yaml.safe_load(file)["calendars"]["russia"]
    week = [minutes(ours["week"].get(day, [])) for day in WEEKDAYS]
    ordinary = week[0]
    russia = holidays.country_holidays("RU", years=range(min(ours["years"]), max(ours["years"]) + 2), language="en_US")
    worked_instead = instead_of(russia)
    problems = []

    def compare(day, who, wanted, found):
        if wanted != found:
            problems.append(f"{day} {day:%a}: {found} here, {wanted} by {who}")

    for day in ours["days"]:
        if day.year not in ours["years"]:
            problems.append(f"{day}: its year is not in `years`")
        if minutes(ours["days"][day]) == week[day.weekday()]:
            problems.append(f"{day}: listed, but equal to any other {day:%A}")

    for year in ours["years"]:
        counts = {}
        day = date(year, 1, 1)
        while day.year == year:
            found = kind(minutes(ours["days"][day]) if day in ours["days"] else week[day.weekday()], ordinary)
            short = is_public(worked_instead.get(day, day) + DAY)
            wanted = "off" if not russia.is_working_day(day) else "short" if short else "working"
            compare(day, "`holidays` and the rule for short days", wanted, found)
            if year < 2027:
                off = not work_calendar.is_workday(day)
                compare(day, "`work-calendar`", "off" if off else "on", "off" if found == "off" else "on")
            counts[found] = counts.get(found, 0) + 1
            day += DAY
        weekends = [f"{day:%d.%m}" for day in ours["days"] if day.year == year and day.weekday() > 4]
        # Official calendars give the annual hours of a 40-hour week.
        hours = 8 * counts["working"] + 7 * counts["short"]
        print(f"{year}: {counts}, working weekend days {weekends}, {hours} hours of 40-hour weeks")

    for problem in problems:
        print(problem)
    print(f"{len(problems)} differences (holidays {holidays.__version__})")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
