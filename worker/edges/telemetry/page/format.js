// Numbers, sizes and times for people. Every function returns text.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const UNITS = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"]];

export function count(number) {
  return number === null || number === undefined ? "unknown" : whole.format(number);
}

// Of ten and more, a fraction is noise.
export function rate(perSecond) {
  if (perSecond === null || perSecond === undefined) return "…";
  if (perSecond > 0 && perSecond < 0.1) return "<0.1/s";
  return `${(perSecond < 10 ? tenth : whole).format(perSecond)}/s`;
}

export function bytes(number) {
  if (number < 1024) return `${whole.format(number)} B`;
  const kibibytes = number / 1024;
  if (kibibytes < 1024) return `${(kibibytes < 10 ? tenth : whole).format(kibibytes)} KiB`;
  const mebibytes = kibibytes / 1024;
  return `${(mebibytes < 10 ? tenth : whole).format(mebibytes)} MiB`;
}

export function duration(seconds) {
  const rounded = Math.max(0, Math.round(seconds));
  if (rounded < 60) return `${rounded} s`;
  for (const [unit, name, nextUnit, nextName] of UNITS) {
    if (rounded < unit) continue;
    const rest = Math.floor((rounded % unit) / nextUnit);
    return `${Math.floor(rounded / unit)} ${name}${rest ? ` ${rest} ${nextName}` : ""}`;
  }
  return `${Math.floor(rounded / 60)} min`;
}

export function clock(date) {
  return date.toLocaleTimeString("en-GB");
}

export function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}
