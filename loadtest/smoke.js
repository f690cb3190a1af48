// Smoke load: page loads at a fixed rate, with the events that a browser would send, against a running `gavel dev`.
//
// An arrival rate that does not bend keeps the latency honest: a slow server gets the next page load all the same, and one
// that cannot keep up shows as dropped iterations. Nothing is random: the n-th page load is the same in every run.
//
// Environment: READY_FILE (of `gavel dev --ready-file`), RESULTS (folder for the summaries), RATE (page loads/s), DURATION.
import http from 'k6/http';
import exec from 'k6/execution';
import { check } from 'k6';
import { Counter, Rate } from 'k6/metrics';

const ready = JSON.parse(open(__ENV.READY_FILE));
const results = __ENV.RESULTS;
const clickEvery = 50; // 2 % of the ads shown are clicked

const adsServed = new Counter('ads_served');
const clicks = new Counter('clicks');
const fillRate = new Rate('fill_rate'); // of slots asked for

export const options = {
  scenarios: {
    feed: {
      executor: 'constant-arrival-rate',
      rate: Number(__ENV.RATE || 50),
      timeUnit: '1s',
      duration: __ENV.DURATION || '20s',
      preAllocatedVUs: 40,
      gracefulStop: '5s',
    },
  },
  maxRedirects: 0, // a click leads to the advertiser's site, which is not ours to load
  discardResponseBodies: true,
  userAgent: 'gavel-smoke',
  summaryTrendStats: ['min', 'med', 'p(90)', 'p(99)', 'max'],
  thresholds: {
    http_req_failed: ['rate<0.001'],
    checks: ['rate>0.999'],
    dropped_iterations: ['count==0'],
    fill_rate: ['rate>0'],
    ads_served: ['count>0'],
    clicks: ['count>0'],
    // Generous: the generator, the server, Postgres and Redis share two cores. They catch a stall, not a regression.
    'http_req_duration{name:ads}': ['med<25', 'p(99)<250'],
    'http_req_duration{name:impression}': ['p(99)<250'],
    'http_req_duration{name:click}': ['p(99)<250'],
  },
};

const pick = (list, n) => list[n % list.length];

// pageLoad is the n-th page load: 499 users, three placements, one to four slots.
function pageLoad(n) {
  const user = n % 499;
  const placement = pick(['BROWSE', 'BROWSE', 'SEARCH', 'OTHER'], n);
  const slots = [];
  for (let i = 0; i <= n % 4; i++) slots.push({ id: `s${i + 1}`, position: 3 + 6 * i });
  return {
    request_id: `smoke-${n}`,
    placement,
    slots,
    user: {
      id: `smoke-user-${user}`,
      country: pick(['US', 'US', 'US', 'CA', 'DE', 'JP'], user),
      gender: pick(['female', 'male', 'unknown'], user),
      age: 18 + (user % 50),
      locale: pick(['en-US', 'en-US', 'de-DE', 'ja-JP'], user),
      interests: ['925056443165'],
    },
    device: { app_type: pick(['iphone', 'android_mobile', 'web'], user) },
    context: placement === 'SEARCH' ? { query: 'summer shoes', keywords: ['shoes'] } : {},
  };
}

export default function () {
  const n = exec.scenario.iterationInTest;
  const page = pageLoad(n);
  const ads = requestAds(page);
  ads.forEach((ad, i) => {
    const shown = http.post(ad.impression_url, null, { tags: { name: 'impression' } });
    check(shown, { 'impression is a 204': (r) => r.status === 204 });
    if ((n + i) % clickEvery === 0) click(ad);
  });
}

// requestAds asks for the ads of a page and returns them, [] if the answer is not usable.
function requestAds(page) {
  const res = http.post(`${ready.ads_url}/v1/ads`, JSON.stringify(page), {
    headers: { Authorization: `Bearer ${ready.feed_key}`, 'Content-Type': 'application/json' },
    responseType: 'text',
    tags: { name: 'ads' },
  });
  if (!check(res, { 'ads is a 200': (r) => r.status === 200 })) {
    fillRate.add(false);
    return [];
  }
  const answer = res.json();
  const ads = answer.ads || [];
  const answered = ads.concat(answer.no_fill || []).map((a) => a.slot_id);
  check(answer, {
    'request id comes back': (a) => a.request_id === page.request_id,
    'every slot is answered once': () =>
      answered.slice().sort().join() === page.slots.map((s) => s.id).sort().join(),
    'one ad of an account': () => new Set(ads.map((a) => a.ad_account_id)).size === ads.length,
    'ads can be shown': () => ads.every((a) => a.creative && a.creative.title && a.impression_url && a.click_url),
  });
  adsServed.add(ads.length);
  page.slots.forEach((s) => fillRate.add(ads.some((a) => a.slot_id === s.id)));
  return ads;
}

function click(ad) {
  const res = http.get(ad.click_url, { tags: { name: 'click' } });
  clicks.add(1);
  check(res, {
    'click is a 302': (r) => r.status === 302,
    "click leads to the ad's own destination": (r) => r.headers.Location.split(/[?&]epik=/)[0] === ad.creative.destination_url,
  });
}

export function handleSummary(data) {
  const text = summaryText(data);
  const out = { stdout: text };
  if (results) {
    out[`${results}/smoke.txt`] = text;
    out[`${results}/smoke.json`] = JSON.stringify(data, null, 2);
  }
  return out;
}

// summaryText is the summary for people. k6's own is replaced by handleSummary, and its library for text comes from a CDN.
function summaryText(data) {
  const rows = Object.entries(data.metrics)
    .filter(([name, m]) => m.thresholds || ['iterations', 'http_reqs'].includes(name))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, m]) => `  ${mark(m)} ${name.padEnd(38)} ${values(m)}`);
  const failing = Object.entries(data.metrics).flatMap(([name, m]) =>
    Object.entries(m.thresholds || {}).filter(([, t]) => !t.ok).map(([rule]) => `${name}: ${rule}`),
  );
  const verdict = failing.length ? `thresholds crossed: ${failing.join('; ')}` : 'all thresholds hold';
  return `${['', 'k6 smoke', ...rows, '', `  ${verdict}`, ...failedChecks(data.root_group)].join('\n')}\n`;
}

const mark = (m) => (Object.values(m.thresholds || {}).every((t) => t.ok) ? 'ok  ' : 'FAIL');

function values(m) {
  const ms = (x) => (x === undefined ? '-' : `${x.toFixed(2)} ms`);
  const v = m.values;
  switch (m.type) {
    case 'rate':
      return `${(100 * v.rate).toFixed(2)} %`;
    case 'trend':
      return `p50 ${ms(v.med)}  p90 ${ms(v['p(90)'])}  p99 ${ms(v['p(99)'])}  max ${ms(v.max)}`;
    default:
      return `${v.count} (${v.rate.toFixed(1)}/s)`;
  }
}

const failedChecks = (group) =>
  group.checks.filter((c) => c.fails > 0).map((c) => `  FAIL ${c.name}: ${c.fails} of ${c.passes + c.fails}`);
