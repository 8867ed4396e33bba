const Sentry = require("@sentry/node");

Sentry.init({ dsn: process.env.DSN, tracesSampleRate: 1.0 });

function stock(shelf, sku) {
  return shelf[sku].count;
}

async function job() {
  await null;
  return stock({}, "C-200");
}

job();
