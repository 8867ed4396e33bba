// What pages gain where scripts run. Each of them does all that it is for without.
'use strict'

// Times in the browser's own zone, unless the reader chose one.
if (document.body.dataset.zone === 'browser') {
  const exact = new Intl.DateTimeFormat('en-GB', {
    weekday: 'short', year: 'numeric', month: 'short', day: 'numeric',
    hour: '2-digit', minute: '2-digit', second: '2-digit', timeZoneName: 'short',
  })
  for (const time of document.querySelectorAll('time[datetime]')) {
    time.title = exact.format(new Date(time.dateTime))
  }
  const zone = document.getElementById('zone')
  if (zone) zone.textContent = exact.resolvedOptions().timeZone
}

// A rule is tried while it is being written.
const rule = document.querySelector('form[data-try]')
if (rule) {
  const trial = document.getElementById('trial-of-rule')
  let waiting, asked
  // Not `rule.action`: its buttons go by that name.
  const tryIt = async () => {
    asked?.abort()
    asked = new AbortController()
    const body = new URLSearchParams(new FormData(rule))
    body.set('action', 'try')
    try {
      const answer = await fetch(rule.getAttribute('action'), { method: 'POST', body, signal: asked.signal })
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html')
      const said = page.getElementById('trial-of-rule')
      if (said) trial.replaceChildren(...said.childNodes)
    } catch {
      // What it said before stands; the button asks again.
    }
  }
  rule.addEventListener('input', () => {
    clearTimeout(waiting)
    waiting = setTimeout(tryIt, 400)
  })
}

// Text and Markdown to the clipboard, where the browser lets pages write there.
if (navigator.clipboard) {
  for (const link of document.querySelectorAll('a[data-copy]')) {
    link.addEventListener('click', async event => {
      event.preventDefault()
      const name = link.textContent
      try {
        const answer = await fetch(link.href)
        if (!answer.ok) throw new Error(answer.statusText)
        await navigator.clipboard.writeText(await answer.text())
        link.textContent = `${name} (copied)`
        setTimeout(() => { link.textContent = name }, 2000)
      } catch {
        location.assign(link.href)
      }
    })
  }
}
