/**
 * Offers the events that are legal now as buttons; asks for what an event needs, and asks twice before what cannot be undone.
 *
 * Guarantees: the daemon's answer and its refusals are shown in its own words. Who may not send sees what is legal, and why the
 * buttons do nothing.
 */
import { html } from 'htm/preact';
import type { VNode } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { send } from '../live/api.ts';
import { wordsOf } from '../live/refusal.ts';
import { announcement, hello, maySend, networks, standing } from '../live/store.ts';
import { formOf, requestOf, type EventForm, type Field } from '../model/requests.ts';
import type { ContainerView } from '../model/wire.ts';

type Values = Record<string, string | boolean>;

interface FieldProps {
  field: Field;
  values: Values;
  set: (values: Values) => void;
}

function FieldView({ field, values, set }: FieldProps): VNode {
  const { name, label, kind, choices, hint } = field;
  const id = `field-${name}`;
  const put = (value: string | boolean): void => set({ ...values, [name]: value });
  if (kind === 'check') {
    return html`<label
      ><input
        type="checkbox"
        checked=${values[name] === true}
        onChange=${(event: Event) => put((event.target as HTMLInputElement).checked)}
      />
      ${label}</label
    >`;
  }
  if (kind === 'choice') {
    return html`<label for=${id}>${label}</label>
      <select
        id=${id}
        value=${values[name] ?? ''}
        onChange=${(event: Event) => put((event.target as HTMLSelectElement).value)}
      >
        <option value="">choose…</option>
        ${choices.map((choice) => html`<option key=${choice} value=${choice}>${choice}</option>`)}
      </select>`;
  }
  return html`<label for=${id}>${label}</label>
    <input
      id=${id}
      type="text"
      placeholder=${hint}
      value=${values[name] ?? ''}
      onInput=${(event: InputEvent) => put((event.target as HTMLInputElement).value)}
    />`;
}

interface DialogProps {
  form: EventForm;
  view: ContainerView;
  close: () => void;
  submit: (event: Record<string, unknown>) => void;
}

function Ask({ form, view, close, submit }: DialogProps): VNode {
  const dialog = useRef<HTMLDialogElement>(null);
  const [values, setValues] = useState<Values>({});
  const [lacks, setLacks] = useState('');
  useEffect(() => dialog.current?.showModal(), []);
  const onSubmit = (submitted: SubmitEvent): void => {
    submitted.preventDefault();
    const request = requestOf(form.type, view, values);
    if ('lacks' in request) return setLacks(request.lacks);
    close();
    submit(request.event);
  };
  return html`<dialog ref=${dialog} onClose=${close} aria-labelledby="ask-title">
    <form onSubmit=${onSubmit}>
      <h2 id="ask-title">${form.type} ${view.id}</h2>
      <p>${form.says}</p>
      ${form.fields.map((field) => html`<p key=${field.name}><${FieldView} field=${field} values=${values} set=${setValues} /></p>`)}
      <p class="bad" role="alert">${lacks}</p>
      <p class="dialog-buttons">
        <button type="button" onClick=${close}>Cancel</button>
        <button type="submit" class=${form.final ? 'danger' : 'primary'}>
          ${form.final ? `Yes, ${form.type}` : form.type}
        </button>
      </p>
    </form>
  </dialog>`;
}

interface Outcome {
  text: string;
  good: boolean;
}

export function Actions({ view }: { view: ContainerView }): VNode {
  const [asking, setAsking] = useState<EventForm | null>(null);
  const [outcome, setOutcome] = useState<Outcome | null>(null);
  useEffect(() => {
    setAsking(null);
    setOutcome(null);
  }, [view.id]);
  const submit = (event: Record<string, unknown>): void => {
    const what = `${String(event['type'])} ${view.id}`;
    setOutcome({ text: `${what}…`, good: true });
    void send(event).then(
      ({ state, warnings }) => {
        setOutcome({ text: [`${what}: now ${state}.`, ...warnings].join(' '), good: true });
        announcement.value = `${what}: now ${state}`;
      },
      (error: unknown) => setOutcome({ text: `${what} was refused. ${wordsOf(error)}`, good: false }),
    );
  };
  const press = (type: string): void => {
    const form = formOf(
      type,
      view,
      networks.value.map(({ name }) => name),
    );
    if (form.fields.length > 0 || form.final) return setAsking(form);
    const request = requestOf(type, view, {});
    if ('event' in request) submit(request.event);
  };
  const may = maySend.value;
  const why =
    standing.value.is !== 'live'
      ? 'Events can be sent when the daemon is there again.'
      : 'You may look, but not send events: the daemon takes these from the users of its socket only.';
  return html`<div class="actions">
    <div class="action-buttons" role="group" aria-label="Events that are legal now">
      ${view.legal.length === 0 ? html`<span class="dim">No event is legal now.</span>` : null}
      ${view.legal.map(
        (type) =>
          html`<button
            key=${type}
            type="button"
            class=${type === 'teardown' ? 'danger' : ''}
            aria-disabled=${may ? undefined : 'true'}
            aria-describedby=${may ? undefined : 'may-not-send'}
            onClick=${() => may && press(type)}
          >
            ${type}
          </button>`,
      )}
    </div>
    ${may || hello.value === null ? null : html`<p id="may-not-send" class="small dim">${why}</p>`}
    <p class="small ${outcome?.good === false ? 'bad' : ''}" role=${outcome?.good === false ? 'alert' : 'status'}>
      ${outcome?.text ?? ''}
    </p>
    ${
      asking === null
        ? null
        : html`<${Ask}
            key=${asking.type}
            form=${asking}
            view=${view}
            close=${() => setAsking(null)}
            submit=${submit}
          />`
    }
  </div>`;
}
