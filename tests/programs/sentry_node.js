const Sentry = require("@sentry/node");

eval(process.env.SNIPPET);

function stock(shelf, sku) {
  return shelf[sku].count;
}

async function job() {
  await null;
  return stock({}, "C-200");
}

job();
